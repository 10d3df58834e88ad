// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/// Whose turn it is to use a [Stream]: one thread at a time, and a second is refused, not queued.
/// What belongs to the stream's user needs no other guard. On the hot path.
final class Turn {
  private static final VarHandle OWNER;
  // The owner of a closed stream, so that the hot path needs no check of its own for it.
  private static final Thread CLOSED = Thread.ofPlatform().unstarted(() -> {});

  static {
    try {
      OWNER = MethodHandles.lookup().findVarHandle(Turn.class, "owner", Thread.class);
    } catch (ReflectiveOperationException e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  // Some microseconds.
  private static final int SPINS = 200;
  private static final long PAUSE_NANOS = 20_000;

  // Null while nobody is inside.
  private volatile @Nullable Thread owner;
  // The owner stays across several calls: a capture, or a graph's replay on the CPU.
  private boolean held;

  /// Takes the turn for one call of this thread, or refuses. The counterpart of [#end].
  ///
  /// @param stream for the sentence
  /// @param what the call, for the sentence
  void take(Stream stream, String what) {
    if (!OWNER.compareAndSet(this, (Thread) null, Thread.currentThread())) {
      takeContended(stream, what);
    }
  }

  private void takeContended(Stream stream, String what) {
    Thread me = Thread.currentThread();
    int spins = 0;
    while (true) {
      Thread other = owner;
      if (other == CLOSED) {
        throw new IllegalStateException(what + ": stream is closed, expected an open one");
      }
      if (other == me) {
        if (held) {
          return;
        }
        throw new IllegalStateException(
            what + ": stream is in use by this very call, expected it to be free");
      }
      if (other == null || other == Completion.POLLER) {
        if (OWNER.compareAndSet(this, (Thread) null, me)) {
          return;
        }
        // The poller never waits and stays for microseconds, unless the system takes its processor
        // away, or the driver makes it wait for another thread's call.
        if (spins < SPINS) {
          spins++;
          Thread.onSpinWait();
        } else {
          Thread.yield(); // for a thread that is interrupted: it cannot park
          LockSupport.parkNanos(PAUSE_NANOS);
        }
        continue;
      }
      throw new IllegalStateException(
          what
              + ": "
              + stream
              + " is in use by thread "
              + other.getName()
              + ", expected one thread at a time: give each thread a stream of its own");
    }
  }

  /// Takes the turn if nobody has it. Never waits.
  boolean tryTake() {
    return OWNER.compareAndSet(this, (Thread) null, Thread.currentThread());
  }

  /// Ends what [#take] or [#tryTake] began, unless the turn is held.
  void end() {
    if (!held) {
      OWNER.setRelease(this, (Thread) null);
    }
  }

  /// Holds the turn across several calls of its owner, or no longer.
  void hold(boolean value) {
    held = value;
  }

  /// The stream has closed: nobody takes it any more.
  void close() {
    OWNER.setRelease(this, CLOSED);
  }

  /// Whether [#close] was called.
  boolean isOver() {
    return owner == CLOSED;
  }
}
