// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.nvfp4j.reference.DequantizeReference;
import io.github.nvfp4j.reference.HyperConnectionsReference;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import io.github.nvfp4j.reference.QuantizeReference;
import io.github.nvfp4j.reference.RouterReference;
import io.github.nvfp4j.reference.SinkhornReference;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// Capture and replay.
@Timeout(120)
final class GraphTest {
  @Nested
  @Tag("cpu")
  final class Cpu extends Contract {
    Cpu() {
      super("cpu");
    }

    @Test
    void aSecondLaunchWhileOneRunsIsRefused() throws Exception {
      Tensor x = device.allocate(arena, DType.F32, 4096, 4096);
      Nvfp4Tensor q = device.allocateNvfp4(arena, 4096, 4096);
      AtomicInteger refused = new AtomicInteger();
      AtomicReference<Throwable> other = new AtomicReference<>();
      try (Graph graph = stream.capture(() -> Quantize.dynamic(stream, x, q));
          Stream second = device.openStream()) {
        Thread worker =
            Thread.ofPlatform()
                .start(() -> {
                  try {
                    launchUntilRefused(graph, second, refused);
                  } catch (Throwable e) {
                    other.set(e);
                  }
                });
        launchUntilRefused(graph, stream, refused);
        worker.join();
      }
      assertThat(other.get()).isNull();
      assertThat(refused.get()).isPositive();
    }

    private static void launchUntilRefused(Graph graph, Stream on, AtomicInteger refused) {
      for (int i = 0; i < 10_000 && refused.get() == 0; i++) {
        try {
          graph.launch(on);
        } catch (IllegalStateException e) {
          assertThat(e)
              .hasMessage(
                  "launch: graph is under way on another stream, expected one launch at a time");
          refused.incrementAndGet();
        }
      }
    }
  }

  @Nested
  @Gpu
  final class Cuda extends Contract {
    Cuda() {
      super("cuda:0");
    }

    @Test
    void aLaunchOnAnotherStreamWhileOneRunsIsRefused() {
      Tensor x = device.allocate(arena, DType.F32, 2048, 2048);
      poison(x);
      Nvfp4Tensor q = device.allocateNvfp4(arena, 2048, 2048);
      upload(new float[] {1f}).copyTo(stream, q.globalScales());
      try (Graph graph =
              stream.capture(() -> {
                for (int i = 0; i < 150; i++) {
                  Quantize.given(stream, x, q);
                }
              });
          Stream second = device.openStream()) {
        graph.launch(stream);
        graph.launch(stream); // One behind the other.
        assertThatThrownBy(() -> graph.launch(second))
            .isExactlyInstanceOf(IllegalStateException.class)
            .hasMessage(
                "launch: graph is under way on "
                    + stream
                    + ", expected one launch at a time: synchronise that stream first");
        stream.synchronize();
        graph.launch(second);
        second.synchronize();
      }
    }

    @Test
    void pageableMemoryIsRefusedInACapture() {
      Tensor host = host(DType.F32, new float[64], 2, 32, 32);
      Tensor there = device.allocate(arena, DType.F32, 2, 32);
      assertThatThrownBy(() -> stream.capture(() -> host.copyTo(stream, there)))
          .isExactlyInstanceOf(IllegalStateException.class)
          .hasMessageContaining("copy");
      // The stream is as it was.
      host.copyTo(stream, there);
      stream.synchronize();
    }

    @Test
    void pinnedCopiesAreCaptured() {
      float[] values = new Values(1).finite(DType.F32, 4, 32);
      Tensor in = Tensor.of(arena, device.allocatePinned(arena, 512), DType.F32, 4, 32);
      Tensor out = Tensor.of(arena, device.allocatePinned(arena, 512), DType.F32, 4, 32);
      Tensor there = device.allocate(arena, DType.F32, 4, 32);
      try (Graph graph =
          stream.capture(() -> {
            in.copyTo(stream, there);
            there.copyTo(stream, out);
          })) {
        MemorySegment.copy(values, 0, in.segment(), ValueLayout.JAVA_FLOAT, 0, 128);
        graph.launch(stream);
        stream.synchronize();
        requireEqual("out", values, out.segment().toArray(ValueLayout.JAVA_FLOAT));
      }
    }
  }

  abstract static class Contract extends OnDevice {
    Contract(String id) {
      super(id);
    }

    @Test
    void otherStreamsAreNoPartOfTheGraph() throws Exception {
      float[] values = new Values(7).finite(DType.F32, 8, 64);
      Tensor x = upload(DType.F32, values, 8, 64);
      Nvfp4Tensor q = output(8, 64, ScaleLayout.LINEAR, GlobalScale.TENSOR);
      Nvfp4Tensor aside = output(8, 64, ScaleLayout.LINEAR, GlobalScale.TENSOR);
      stream.synchronize();
      try (Stream other = device.openStream();
          Event event = Event.create(device)) {
        byte[][] during = new byte[2][];
        try (Graph graph =
            stream.capture(() -> {
              Quantize.dynamic(stream, x, q);
              Quantize.dynamic(other, x, aside);
              event.record(other);
              other.whenDone().join(); // What waits is the other stream's own business.
              other.synchronize();
              assertThat(event.isDone()).isTrue();
              during[0] = aside.codes().toHost(other, arena).segment().toArray(JAVA_BYTE);
              during[1] = q.codes().toHost(other, arena).segment().toArray(JAVA_BYTE);
            })) {
          byte[] expected =
              QuantizeReference.dynamic(
                      values, 8, 64, GlobalScale.TENSOR, Recipe.EXACT, ZeroScale.MIN)
                  .codes();
          requireEqual("the other stream's codes, at once", expected, during[0]);
          assertThat(during[1]).as("recorded, not run").containsOnly(POISON);
          poison(aside.codes());
          stream.synchronize();
          graph.launch(stream);
          stream.synchronize();
          requireEqual("codes", expected, bytes(q.codes()));
          assertThat(bytes(aside.codes())).as("not in the graph").containsOnly(POISON);
        }
      }
    }

    @Test
    void aSecondStreamIsCapturedWithinACapture() {
      float[] values = new Values(8).finite(DType.F32, 8, 64);
      Tensor x = upload(DType.F32, values, 8, 64);
      Nvfp4Tensor outer = output(8, 64, ScaleLayout.LINEAR, GlobalScale.TENSOR);
      Nvfp4Tensor inner = output(8, 64, ScaleLayout.LINEAR, GlobalScale.TENSOR);
      stream.synchronize();
      Graph[] second = new Graph[1];
      try (Stream other = device.openStream();
          Graph first =
              stream.capture(() -> {
                second[0] = other.capture(() -> Quantize.dynamic(other, x, inner));
                second[0].launch(other);
                other.synchronize();
                Quantize.dynamic(stream, x, outer);
                assertThatThrownBy(() -> stream.capture(() -> {}))
                    .isExactlyInstanceOf(IllegalStateException.class)
                    .hasMessage(
                        "capture: stream is being captured, expected no capture: end it first");
              });
          Graph nested = second[0]) {
        byte[] expected =
            QuantizeReference.dynamic(
                    values, 8, 64, GlobalScale.TENSOR, Recipe.EXACT, ZeroScale.MIN)
                .codes();
        requireEqual("inner", expected, bytes(inner.codes()));
        assertThat(bytes(outer.codes())).containsOnly(POISON);
        poison(inner.codes());
        first.launch(stream);
        stream.synchronize();
        requireEqual("outer", expected, bytes(outer.codes()));
        assertThat(bytes(inner.codes())).containsOnly(POISON);
        nested.launch(stream);
        stream.synchronize();
        requireEqual("inner", expected, bytes(inner.codes()));
      }
    }

    @Test
    void replaysOnNewInputs() {
      Tensor x = device.allocate(arena, DType.F32, 37, 96);
      Nvfp4Tensor q = output(37, 96, ScaleLayout.SWIZZLED_128X4, GlobalScale.TENSOR);
      Tensor y = output(DType.F32, 37, 96, 96);
      poison(x);
      byte[] before = bytes(q.codes());
      try (Graph graph =
          stream.capture(() -> {
            Quantize.dynamic(stream, x, q);
            Dequantize.run(stream, q, y);
          })) {
        requireEqual("nothing ran while recording", before, bytes(q.codes()));
        for (int i = 0; i < 4; i++) {
          float[] values = new Values(i).finite(DType.F32, 37, 96);
          host(DType.F32, values, 37, 96, 96).copyTo(stream, x);
          graph.launch(stream);
          Nvfp4Matrix expected =
              QuantizeReference.dynamic(
                  values, 37, 96, GlobalScale.TENSOR, Recipe.EXACT, ZeroScale.MIN);
          requireEqual(expected, q);
          requireEqual("y", DequantizeReference.dequantize(expected, DType.F32), floats(y));
        }
        stream.synchronize();
      }
    }

    @Test
    void recordsEveryOp() {
      float[] values = new Values(20).activations(DType.BF16, 9, 128);
      Tensor gateUp = upload(DType.BF16, values, 9, 128);
      Tensor y = output(DType.BF16, 9, 64, 64);
      Tensor copy = output(DType.BF16, 9, 64, 64);
      Nvfp4Tensor fused = output(9, 64, ScaleLayout.LINEAR, GlobalScale.ROW);
      Nvfp4Tensor two = output(9, 64, ScaleLayout.LINEAR, GlobalScale.ROW);
      Tensor tiles = device.allocate(arena, DType.U8, 512);
      Tensor linear = device.allocate(arena, DType.U8, 9, 4);
      Tensor back = output(DType.F32, 9, 64, 64);
      try (Graph graph =
          stream.capture(() -> {
            Swiglu.run(stream, gateUp, null, y, Swiglu.Options.DEFAULT);
            y.copyTo(stream, copy);
            Quantize.dynamic(stream, copy, two);
            SwigluQuantize.run(
                stream, gateUp, null, fused, Swiglu.Options.DEFAULT, Quantize.Options.DYNAMIC);
            Swizzle.run(stream, fused.scales(), tiles);
            Unswizzle.run(stream, tiles, linear);
            Dequantize.run(stream, fused, back);
          })) {
        graph.launch(stream);
        stream.synchronize();
      }
      requireEqual("codes", bytes(two.codes()), bytes(fused.codes()));
      requireEqual("scales", bytes(two.scales()), bytes(linear));
      Nvfp4Matrix matrix =
          new Nvfp4Matrix(
              9,
              64,
              bytes(fused.codes()),
              bytes(linear),
              GlobalScale.ROW,
              floats(fused.globalScales()));
      requireEqual("back", DequantizeReference.dequantize(matrix, DType.F32), floats(back));
    }

    @Test
    void recordsHyperConnections() {
      Values values = new Values(24);
      Tensor x = device.allocate(arena, DType.F32, 5, 4, 64);
      Tensor sub = device.allocate(arena, DType.F32, 5, 64);
      Tensor post = device.allocate(arena, DType.F32, 5, 4);
      Tensor comb = device.allocate(arena, DType.F32, 5, 4, 4);
      Tensor nextPost = device.allocate(arena, DType.F32, 5, 4);
      Tensor nextComb = device.allocate(arena, DType.F32, 5, 4, 4);
      Tensor again = device.allocate(arena, DType.F32, 5, 4, 64);
      Tensor mixed = device.allocate(arena, DType.F32, 5, 4, 4);
      Tensor end = device.allocate(arena, DType.F32, 5, 64);
      // No weights: each logit is its row's base, so that nothing depends on the order of a sum.
      float[] base = {0.5f, -1, 0.25f, 2};
      float[] all = new float[24];
      for (int i = 0; i < all.length; i++) {
        all[i] = (float) values.random().nextGaussian();
      }
      HcModule module =
          new HcModule(
              upload(DType.F32, new float[24 * 256], 24, 256),
              upload(all),
              upload(new float[] {1, 1, 1}));
      HcModule head =
          new HcModule(
              upload(DType.F32, new float[4 * 256], 4, 256), upload(base), upload(new float[] {1}));
      Tensor[] written = {x, sub, post, comb, nextPost, nextComb, again, mixed, end};
      for (Tensor each : written) {
        poison(each);
      }
      try (Graph graph =
          stream.capture(() -> {
            HcPre.run(stream, x, module, sub, post, comb, HcOptions.DEFAULT);
            Sinkhorn.run(stream, comb, mixed, Sinkhorn.Options.of(1, 1e-6f));
            HcPost.run(stream, x, sub, post, comb, again);
            HcPostPre.run(
                stream, x, sub, post, comb, module, x, end, nextPost, nextComb, HcOptions.DEFAULT);
            HcHead.run(stream, x, head, end, HcOptions.DEFAULT);
          })) {
        for (Tensor each : written) {
          assertThat(bytes(each)).as("recorded, not run").containsOnly(POISON);
        }
        for (int i = 0; i < 3; i++) {
          float[] residual = values.activations(DType.F32, 5, 256);
          Tensor host = host(DType.F32, residual, 5, 256, 256).reshaped(arena, 5, 4, 64);
          host.copyTo(stream, x);
          graph.launch(stream);
          stream.synchronize();
          HyperConnectionsReference.Pre pre =
              HyperConnectionsReference.pre(
                  residual,
                  new float[24 * 256],
                  all,
                  new float[] {1, 1, 1},
                  5,
                  4,
                  64,
                  20,
                  1e-6f,
                  1e-6f,
                  DType.F32);
          requireEqual("sub", pre.collapsed(), floats(sub));
          requireEqual("post", pre.post(), floats(post));
          requireEqual("comb", pre.comb(), floats(comb));
          requireEqual(
              "mixed", SinkhornReference.sinkhorn(pre.comb(), 5, 4, 1, 1e-6f), floats(mixed));
          float[] out =
              HyperConnectionsReference.post(
                  residual, pre.collapsed(), pre.post(), pre.comb(), 5, 4, 64, DType.F32);
          requireEqual("again", out, floats(again));
          requireEqual("x", out, floats(x));
          requireEqual("next_post", pre.post(), floats(nextPost));
          requireEqual("next_comb", pre.comb(), floats(nextComb));
          requireEqual(
              "end",
              HyperConnectionsReference.head(
                      out,
                      new float[4 * 256],
                      base,
                      new float[] {1},
                      5,
                      4,
                      64,
                      1e-6f,
                      1e-6f,
                      DType.F32)
                  .collapsed(),
              floats(end));
        }
      }
    }

    @Test
    void routersAreReplayed() {
      Values values = new Values(22);
      // W is the identity: a logit is x, and nothing depends on the order of a sum.
      float[] identity = new float[16 * 16];
      for (int e = 0; e < 16; e++) {
        identity[17 * e] = 1;
      }
      Tensor x = device.allocate(arena, DType.F32, 5, 16);
      Tensor gate = upload(DType.F32, identity, 16, 16);
      float[] bias = new float[16];
      for (int e = 0; e < 16; e++) {
        bias[e] = (float) values.random().nextGaussian();
      }
      Tensor biases = upload(bias);
      int[] entries = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8};
      Tensor table = upload(entries).reshaped(arena, 6, 2);
      int[] ids = {5, 0, 3, 3, 1};
      Tensor tokenIds = upload(ids);
      Tensor indices = device.allocate(arena, DType.I32, 5, 4);
      Tensor weights = device.allocate(arena, DType.F32, 5, 4);
      Tensor logits = device.allocate(arena, DType.F32, 5, 16);
      Tensor hashed = device.allocate(arena, DType.I32, 5, 2);
      Tensor hashedWeights = device.allocate(arena, DType.F32, 5, 2);
      Tensor[] written = {indices, weights, logits, hashed, hashedWeights};
      for (Tensor each : written) {
        poison(each);
      }
      try (Graph graph =
          stream.capture(() -> {
            RouterDense.run(stream, x, gate, biases, indices, weights, logits, RouterOptions.FLASH);
            RouterHash.run(
                stream, x, gate, table, tokenIds, hashed, hashedWeights, RouterOptions.PRO);
          })) {
        for (Tensor each : written) {
          assertThat(bytes(each)).as("recorded, not run").containsOnly(POISON);
        }
        for (int i = 0; i < 3; i++) {
          float[] z = values.activations(DType.F32, 5, 16);
          host(DType.F32, z, 5, 16, 16).copyTo(stream, x);
          graph.launch(stream);
          stream.synchronize();
          RouterReference.Choice choice = RouterReference.choose(z, bias, 5, 16, 4, 1.5f);
          assertThat(ints(indices)).containsExactly(choice.indices());
          requireEqual("weights", choice.weights(), floats(weights));
          int[] looked =
              RouterReference.lookUp(
                  Arrays.stream(entries).asLongStream().toArray(),
                  Arrays.stream(ids).asLongStream().toArray(),
                  16,
                  2);
          assertThat(ints(hashed)).containsExactly(looked);
          requireEqual(
              "hashed weights",
              RouterReference.weigh(z, looked, 5, 16, 2, 2.5f),
              floats(hashedWeights));
        }
      }
    }

    private int[] ints(Tensor tensor) {
      return tensor.toHost(stream, arena).segment().toArray(ValueLayout.JAVA_INT);
    }

    @Test
    void anErrorInTheBodyEndsTheCapture() {
      Tensor x = device.allocate(arena, DType.F32, 4, 32);
      Nvfp4Tensor q = device.allocateNvfp4(arena, 4, 32);
      Nvfp4Tensor wrong = device.allocateNvfp4(arena, 5, 32);
      assertThatThrownBy(() ->
              stream.capture(() -> {
                Quantize.dynamic(stream, x, q);
                Quantize.dynamic(stream, x, wrong);
              }))
          .isExactlyInstanceOf(IllegalArgumentException.class)
          .hasMessage("quantize: output has shape [5, 32], expected [4, 32] (the shape of input)");
      AssertionError mine = new AssertionError("mine");
      assertThatThrownBy(() ->
              stream.capture(() -> {
                throw mine;
              }))
          .isSameAs(mine);
      float[] values = new Values(21).finite(DType.F32, 4, 32);
      host(DType.F32, values, 4, 32, 32).copyTo(stream, x);
      try (Graph graph = stream.capture(() -> Quantize.dynamic(stream, x, q))) {
        graph.launch(stream);
      }
      requireEqual(
          QuantizeReference.dynamic(values, 4, 32, GlobalScale.TENSOR, Recipe.EXACT, ZeroScale.MIN),
          q);
      stream.synchronize();
    }

    @Test
    void whatWaitsIsRefusedInACapture() {
      Tensor x = device.allocate(arena, DType.F32, 4, 32);
      try (Event event = Event.create(device);
          Graph empty = stream.capture(() -> {})) {
        String sentence = "stream is being captured, expected no capture";
        record Call(String what, Runnable run) {}
        for (Call call :
            new Call[] {
              new Call("synchronize", stream::synchronize),
              new Call("whenDone", stream::whenDone),
              new Call("capture", () -> stream.capture(() -> {})),
              new Call("close", stream::close),
              new Call("event", () -> event.record(stream)),
              new Call("launch", () -> empty.launch(stream)),
              new Call("toHost", () -> x.toHost(stream, arena))
            }) {
          assertThatThrownBy(() -> stream.capture(call.run))
              .as(call.what)
              .isExactlyInstanceOf(IllegalStateException.class)
              .hasMessageStartingWith(call.what + ": " + sentence);
        }
        empty.launch(stream);
        stream.synchronize();
      }
    }

    @Test
    void aVirtualThreadCannotCapture() throws Exception {
      AtomicReference<Throwable> thrown = new AtomicReference<>();
      Thread.ofVirtual()
          .start(() -> {
            try {
              stream.capture(() -> {});
            } catch (Throwable e) {
              thrown.set(e);
            }
          })
          .join();
      assertThat(thrown.get())
          .isExactlyInstanceOf(IllegalStateException.class)
          .hasMessageContaining("is virtual, expected a platform thread");
    }

    @Test
    void reportsWhereItWasLaunched() {
      float[] values = new Values(22).finite(DType.F32, 4, 32);
      values[2 * 32 + 7] = Float.NaN;
      Tensor x = upload(DType.F32, values, 4, 32);
      Nvfp4Tensor q = device.allocateNvfp4(arena, 4, 32);
      try (Stream other = device.openStream();
          Graph graph = stream.capture(() -> Quantize.dynamic(stream, x, q))) {
        stream.synchronize(); // Recording reports nothing.
        graph.launch(other);
        graph.launch(other);
        ReportedByKernelException report =
            catchThrowableOfType(ReportedByKernelException.class, other::synchronize);
        assertThat(report.op()).isEqualTo(Op.QUANTIZE);
        assertThat(report.reason()).isEqualTo(Cause.NON_FINITE_INPUT);
        assertThat(report.row()).isEqualTo(2);
        assertThat(report.column()).isEqualTo(7);
        other.synchronize();
        stream.synchronize();
        graph.launch(stream);
        assertThatThrownBy(stream::synchronize).isInstanceOf(ReportedByKernelException.class);
      }
    }

    @Test
    void reportsAfterItIsClosed() {
      float[] values = new Values(23).finite(DType.F32, 4, 32);
      values[5] = Float.POSITIVE_INFINITY;
      Tensor x = upload(DType.F32, values, 4, 32);
      Nvfp4Tensor q = device.allocateNvfp4(arena, 4, 32);
      stream.synchronize();
      try (Graph graph = stream.capture(() -> Quantize.dynamic(stream, x, q))) {
        graph.launch(stream);
      }
      assertThatThrownBy(stream::synchronize)
          .isInstanceOf(ReportedByKernelException.class)
          .hasMessageContaining("quantize: NON_FINITE_INPUT");
      stream.synchronize();
    }

    @Test
    void belongsToItsDevice() {
      Device other = Device.cpu(1);
      if (!device.isCuda()) {
        other.close();
        return; // A CPU graph runs on any CPU stream.
      }
      try (other;
          Stream wrong = other.openStream();
          Graph graph = stream.capture(() -> {})) {
        assertThatThrownBy(() -> graph.launch(wrong))
            .isExactlyInstanceOf(IllegalArgumentException.class)
            .hasMessage("launch: stream is on cpu, expected the graph's device cuda:0");
      }
    }
  }
}
