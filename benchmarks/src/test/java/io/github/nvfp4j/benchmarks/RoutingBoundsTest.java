// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.Device;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// What a wrong router, indexer or cache would write lies outside of the bounds.
class RoutingBoundsTest {
  private final Device device = Device.cpu();
  private final Stream stream = device.openStream();
  private final Arena arena = Arena.ofShared();

  @AfterEach
  void close() {
    arena.close();
    stream.close();
    device.close();
  }

  /// One call of a workload, and its bounds.
  private final class Call {
    final List<Tensor> inputs;
    final List<Tensor> outputs;
    private final Workload.Bounds bounds;
    private final Runnable run;

    Call(String op) {
      Workload workload =
          Workloads.all(true).stream()
              .filter(w -> w.toString().startsWith(op))
              .findFirst()
              .orElseThrow();
      HostData data = new HostData(arena, 13);
      inputs = BufferSet.allocate(stream, arena, workload.inputs(), 1, data).of(0);
      outputs = BufferSet.allocate(stream, arena, workload.outputs(), 1, data).of(0);
      bounds = Objects.requireNonNull(workload.bounds());
      run = workload.binding().bind(stream, arena, inputs, outputs);
      run();
    }

    void run() {
      run.run();
      assertThat(differs()).isEmpty();
    }

    String differs() {
      return Objects.requireNonNullElse(bounds.differs(inputs, outputs), "");
    }

    MemorySegment output(int index) {
      return outputs.get(index).segment();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"router_dense (bf16", "router_dense (NVFP4"})
  void choicesOfTheDenseRouterThatChangedPlacesAreSeen(String op) {
    Call call = new Call(op);
    for (int token : new int[] {0, 13, 63}) {
      int first = 6 * token;
      swap(call.output(0), first, first + 5);
      swap(call.output(1), first, first + 5); // each weight stays with its expert
      assertThat(call.differs()).startsWith("indices of token " + token + ": choice 0, ");
      call.run();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"router_dense (bf16", "router_dense (NVFP4"})
  void anExpertThatIsNotAmongTheBestIsSeen(String op) {
    Call call = new Call(op);
    MemorySegment indices = call.output(0);
    for (int token : new int[] {0, 31, 63}) {
      int another = 0;
      while (chosen(indices, token, another)) {
        another++;
      }
      indices.setAtIndex(ValueLayout.JAVA_INT, 6 * token + 5, another);
      assertThat(call.differs()).startsWith("indices of token " + token + ": choice 5, " + another);
      call.run();
    }
  }

  @Test
  void anExpertTwiceOrNoneIsSeen() {
    Call call = new Call("router_dense (bf16");
    MemorySegment indices = call.output(0);
    indices.setAtIndex(ValueLayout.JAVA_INT, 7, indices.getAtIndex(ValueLayout.JAVA_INT, 6));
    assertThat(call.differs()).startsWith("indices of token 1: choice 1, ").endsWith("made before");
    indices.setAtIndex(ValueLayout.JAVA_INT, 7, 384);
    assertThat(call.differs()).isEqualTo("indices of token 1: choice 1 is 384 of 384");
  }

  @ParameterizedTest
  @ValueSource(strings = {"router_dense (bf16", "router_dense (NVFP4", "router_hash"})
  void aWeightThatIsALittleOffIsSeen(String op) {
    Call call = new Call(op);
    MemorySegment weights = call.output(1);
    for (int token : new int[] {0, 13, 63}) {
      float off = 1e-4f * weights.getAtIndex(ValueLayout.JAVA_FLOAT, 6 * token);
      add(weights, 6 * token, off);
      assertThat(call.differs()).startsWith("weights of token " + token + " add up to ");
      add(weights, 6 * token + 1, -off);
      assertThat(call.differs()).startsWith("weights of token " + token + ": that of choice 0 is ");
      call.run();
    }
    weights.setAtIndex(ValueLayout.JAVA_FLOAT, 20, Float.NaN);
    assertThat(call.differs()).startsWith("weights of token 3 add up to NaN");
  }

  /// The bias is for the choice only, and the factor comes once.
  @Test
  void weightsOfBiasedScoresOrWithoutTheFactorAreSeen() {
    Call call = new Call("router_dense (bf16");
    MemorySegment weights = call.output(1);
    float[] bias = call.inputs.get(1).segment().toArray(ValueLayout.JAVA_FLOAT);
    float sum = 0;
    for (int j = 0; j < 6; j++) {
      int expert = call.output(0).getAtIndex(ValueLayout.JAVA_INT, j);
      add(weights, j, bias[expert]);
      sum += weights.getAtIndex(ValueLayout.JAVA_FLOAT, j);
    }
    for (int j = 0; j < 6; j++) {
      float biased = weights.getAtIndex(ValueLayout.JAVA_FLOAT, j);
      weights.setAtIndex(ValueLayout.JAVA_FLOAT, j, biased / sum * 2.5f);
    }
    assertThat(call.differs()).startsWith("weights of token 0: that of choice 0 is ");
    call.run();
    for (int j = 0; j < 6; j++) {
      add(weights, j, -0.6f * weights.getAtIndex(ValueLayout.JAVA_FLOAT, j));
    }
    assertThat(call.differs()).startsWith("weights of token 0 add up to ");
  }

  @Test
  void rowsOfTheIndexerThatChangedPlacesOrAreNotAmongTheBestAreSeen() {
    Call call = new Call("indexer_topk");
    MemorySegment indices = call.output(0);
    for (int query = 0; query < 4; query++) {
      swap(indices, 64 * query, 64 * query + 63);
      assertThat(call.differs()).startsWith("indices of query " + query + ": choice 0, ");
      call.run();
      int another = 0;
      while (chosenRow(indices, query, another)) {
        another++;
      }
      indices.setAtIndex(ValueLayout.JAVA_INT, 64 * query + 63, another);
      assertThat(call.differs())
          .startsWith("indices of query " + query + ": choice 63, " + another);
      call.run();
    }
  }

  @Test
  void aRowThatTheIndexerMayNotSeeIsSeen() {
    Call call = new Call("indexer_topk");
    int valid = call.inputs.get(3).segment().getAtIndex(ValueLayout.JAVA_INT, 2);
    call.output(0).setAtIndex(ValueLayout.JAVA_INT, 2 * 64 + 9, valid);
    assertThat(call.differs())
        .isEqualTo("indices of query 2: choice 9 is " + valid + " of " + valid);
  }

  @Test
  void whatAnAppendDidNotWriteOrWroteElsewhereIsSeen() {
    Call call = new Call("cache_append 64");
    call.run();
    call.run(); // three times now
    MemorySegment cache = call.output(0);
    MemorySegment length = call.output(1);
    assertThat(length.get(ValueLayout.JAVA_LONG, 0)).isEqualTo(3 * 64);
    long row = 1024;
    for (long at : new long[] {0, 64 * row + 7, 192 * row - 1}) {
      flip(cache, at);
      assertThat(call.differs()).startsWith("cache differs from the rows of call ");
      flip(cache, at);
    }
    for (long at : new long[] {192 * row, 8192 * row - 1}) {
      flip(cache, at);
      assertThat(call.differs()).isEqualTo("cache was written behind its length, at byte " + at);
      flip(cache, at);
    }
    for (long wrong : new long[] {0, 128 + 1, 8192 + 64, -64}) {
      length.set(ValueLayout.JAVA_LONG, 0, wrong);
      assertThat(call.differs()).startsWith("length is " + wrong);
    }
    length.set(ValueLayout.JAVA_LONG, 0, 128);
    assertThat(call.differs()).startsWith("cache was written behind its length");
    length.set(ValueLayout.JAVA_LONG, 0, 256);
    assertThat(call.differs()).startsWith("cache differs from the rows of call 3 of 4");
  }

  private static boolean chosen(MemorySegment indices, int token, int expert) {
    return contains(indices, 6 * token, 6, expert);
  }

  private static boolean chosenRow(MemorySegment indices, int query, int row) {
    return contains(indices, 64 * query, 64, row);
  }

  private static boolean contains(MemorySegment indices, int from, int count, int index) {
    for (int i = from; i < from + count; i++) {
      if (indices.getAtIndex(ValueLayout.JAVA_INT, i) == index) {
        return true;
      }
    }
    return false;
  }

  private static void swap(MemorySegment values, long one, long other) {
    int value = values.getAtIndex(ValueLayout.JAVA_INT, one);
    values.setAtIndex(ValueLayout.JAVA_INT, one, values.getAtIndex(ValueLayout.JAVA_INT, other));
    values.setAtIndex(ValueLayout.JAVA_INT, other, value);
  }

  private static void add(MemorySegment values, long at, float more) {
    float value = values.getAtIndex(ValueLayout.JAVA_FLOAT, at);
    values.setAtIndex(ValueLayout.JAVA_FLOAT, at, value + more);
  }

  private static void flip(MemorySegment bytes, long at) {
    bytes.set(ValueLayout.JAVA_BYTE, at, (byte) (bytes.get(ValueLayout.JAVA_BYTE, at) ^ 1));
  }
}
