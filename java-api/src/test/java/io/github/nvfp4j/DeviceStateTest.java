// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.nvfp4j.bindings.CudaConstants;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// When memory that several devices know is freed, with devices made of paper.
@Tag("cpu")
final class DeviceStateTest {
  private static final class Machine implements DeviceState.Calls {
    final List<String> calls = new ArrayList<>();
    int outcome = CudaConstants.SUCCESS;
    // The call for which Java has no memory.
    String failing = "";

    @Override
    public int synchronize(int ordinal) {
      failAt("wait for " + ordinal);
      calls.add("wait for " + ordinal);
      return outcome;
    }

    private void failAt(String call) {
      if (failing.equals(call)) {
        throw new OutOfMemoryError("of paper");
      }
    }

    @Override
    public int free(int ordinal, Allocation allocation) {
      failAt("free " + allocation.address() + " by " + ordinal);
      calls.add("free " + allocation.address() + " by " + ordinal);
      return CudaConstants.SUCCESS;
    }
  }

  private final Machine machine = new Machine();
  private final DeviceState zero = new DeviceState("cuda:0", 0, machine);
  private final DeviceState one = new DeviceState("cuda:1", 1, machine);
  private final DeviceState two = new DeviceState("cuda:2", 2, machine);

  private Allocation pinned(long address) {
    return new Allocation(zero, new LiveCount("cuda:0"), Allocation.Kind.PINNED, address, 64);
  }

  @Test
  void memoryOfOneDeviceWaitsForThatAlone() {
    Allocation memory = pinned(10);
    memory.usedBy(zero);
    zero.release(memory);
    assertThat(machine.calls).containsExactly("wait for 0", "free 10 by 0");
  }

  @Test
  void memoryThatOtherDevicesUsedWaitsForEach() {
    Allocation memory = pinned(20);
    memory.usedBy(two);
    memory.usedBy(zero);
    memory.usedBy(one);
    memory.usedBy(two);
    zero.release(memory);
    assertThat(machine.calls)
        .containsExactly("wait for 0", "wait for 2", "wait for 1", "free 20 by 1");
    assertThat(zero.pendingCount() + one.pendingCount() + two.pendingCount()).isZero();
  }

  @Test
  void aCaptureOnAnotherDeviceHoldsItBack() {
    Allocation memory = pinned(30);
    memory.usedBy(one);
    one.beginCapture();
    zero.release(memory);
    assertThat(machine.calls).containsExactly("wait for 0");
    assertThat(one.pendingCount()).isEqualTo(1);
    one.drain();
    assertThat(machine.calls).hasSize(1);
    one.endCapture();
    assertThat(machine.calls).containsExactly("wait for 0", "wait for 1", "free 30 by 1");
  }

  @Test
  void aForeignCaptureHoldsItBackToo() {
    Allocation memory = pinned(40);
    memory.usedBy(one);
    machine.outcome = CudaConstants.ERROR_STREAM_CAPTURE_UNSUPPORTED;
    zero.release(memory);
    assertThat(machine.calls).containsExactly("wait for 0");
    assertThat(zero.pendingCount()).isEqualTo(1);
    machine.outcome = CudaConstants.SUCCESS;
    zero.drain();
    assertThat(machine.calls)
        .containsExactly("wait for 0", "wait for 0", "wait for 1", "free 40 by 1");
  }

  @Test
  void aGraphHoldsItBack() {
    Allocation memory = pinned(50);
    memory.usedBy(one);
    assertThat(zero.retain(memory)).isTrue();
    zero.release(memory);
    assertThat(machine.calls).isEmpty();
    zero.releaseRetained(memory);
    assertThat(machine.calls).containsExactly("wait for 0", "wait for 1", "free 50 by 1");
  }

  @Test
  void withoutJavaMemoryNothingIsLostOrFreedTwice() {
    one.beginCapture(); // All wait there first, so that they are freed together.
    for (long address : new long[] {60, 61, 62}) {
      Allocation memory = pinned(address);
      memory.usedBy(one);
      memory.usedBy(two);
      zero.release(memory);
    }
    machine.calls.clear();
    machine.failing = "wait for 1";
    assertThatThrownBy(one::endCapture).isInstanceOf(OutOfMemoryError.class);
    assertThat(one.pendingCount()).isEqualTo(3);
    assertThat(machine.calls).isEmpty();

    machine.failing = "wait for 2";
    assertThatThrownBy(one::drain).isInstanceOf(OutOfMemoryError.class);
    assertThat(machine.calls).containsExactly("wait for 1");
    assertThat(one.pendingCount() + two.pendingCount()).isEqualTo(3);

    machine.failing = "free 61 by 2";
    assertThatThrownBy(one::drain).isInstanceOf(OutOfMemoryError.class);
    machine.failing = "";
    one.drain();
    two.drain();
    assertThat(one.pendingCount() + two.pendingCount()).isZero();
    assertThat(machine.calls.stream().filter(call -> call.startsWith("free")))
        .containsExactlyInAnyOrder("free 60 by 2", "free 61 by 2", "free 62 by 2");
  }

  @Test
  void theEndOfAnArenaNeverThrows() {
    Allocation memory = pinned(70);
    machine.failing = "wait for 0";
    zero.release(memory);
    assertThat(zero.pendingCount()).isEqualTo(1);

    Allocation retained = pinned(71);
    assertThat(zero.retain(retained)).isTrue();
    zero.release(retained);
    zero.releaseRetained(retained);
    assertThat(zero.pendingCount()).isEqualTo(2);

    machine.failing = "";
    zero.drain();
    assertThat(machine.calls).containsExactly("wait for 0", "free 70 by 0", "free 71 by 0");
  }
}
