// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.util.StringJoiner;

/// What a [Device] still has open: it closes when there is nothing left.
final class LiveCount {
  /// The things that are counted, under their names in sentences.
  enum Kind {
    STREAM("stream"),
    GRAPH("graph"),
    EVENT("event"),
    TENSOR("tensor"),
    PINNED("page-locked segment");

    private final String text;

    Kind(String text) {
      this.text = text;
    }
  }

  private final String device;
  private final long[] counts = new long[Kind.values().length];
  private long bytes;
  private boolean closed;

  LiveCount(String device) {
    this.device = device;
  }

  /// One more; refused after close.
  ///
  /// @param what the call, for the sentence
  synchronized void add(String what, Kind kind, long size) {
    if (closed) {
      throw new IllegalStateException(
          what + ": device " + device + " is closed, expected an open one");
    }
    counts[kind.ordinal()]++;
    bytes += size;
  }

  /// One less.
  synchronized void remove(Kind kind, long size) {
    counts[kind.ordinal()]--;
    bytes -= size;
  }

  /// Refuses use after close.
  synchronized void requireOpen(String what) {
    if (closed) {
      throw new IllegalStateException(
          what + ": device " + device + " is closed, expected an open one");
    }
  }

  /// Closes, or says what is in the way. Closing twice does nothing.
  synchronized void close() {
    StringJoiner left = new StringJoiner(", ");
    for (Kind kind : Kind.values()) {
      long count = counts[kind.ordinal()];
      if (count > 0) {
        left.add(count + " " + kind.text + (count == 1 ? "" : "s"));
      }
    }
    if (left.length() > 0) {
      throw new IllegalStateException(
          "close: device "
              + device
              + " has "
              + left
              + " open"
              + (bytes > 0 ? " (" + bytes + " bytes)" : "")
              + ", expected none: close streams, graphs and events, and the arenas of tensors,"
              + " first");
    }
    closed = true;
  }
}
