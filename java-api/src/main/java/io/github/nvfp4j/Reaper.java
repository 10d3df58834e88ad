// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.util.concurrent.LinkedBlockingQueue;

/// Frees device memory whose arena was closed by the garbage collector (`Arena.ofAuto()`): waiting
/// for a device on the JVM's cleaner thread would hold up every other cleaner of the process.
final class Reaper {
  private static final LinkedBlockingQueue<DeviceState> WORK = new LinkedBlockingQueue<>();

  private Reaper() {}

  static {
    Thread thread = new Thread(Reaper::run, "nvfp4j-reaper");
    thread.setDaemon(true);
    thread.start();
  }

  /// Whether a thread is one of the JDK's cleaner threads.
  static boolean isCleanerThread(Thread thread) {
    return thread.isDaemon()
        && (thread.getClass().getName().equals("jdk.internal.misc.InnocuousThread")
            || thread.getName().equals("Common-Cleaner"));
  }

  static void wake(DeviceState state) {
    WORK.add(state);
  }

  private static void run() {
    while (true) {
      try {
        WORK.take().drain();
      } catch (InterruptedException | RuntimeException | OutOfMemoryError e) {
        // Nobody ends this thread: it is a daemon, and the only one that frees what it is given.
        continue;
      }
    }
  }
}
