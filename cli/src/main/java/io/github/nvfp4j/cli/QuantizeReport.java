// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.Device;
import io.github.nvfp4j.checkpoint.SafetensorsEntry;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/// What `nvfp4j quantize` prints.
final class QuantizeReport {
  private static final int SHAPES_LISTED = 2;

  private final EnumMap<TensorClass, Row> classes = new EnumMap<>(TensorClass.class);
  private final EnumMap<TensorRules.Kept, Row> kept = new EnumMap<>(TensorRules.Kept.class);
  private final Row quantized = new Row();
  private final Row left = new Row();

  /// Sums over tensors.
  private static final class Row {
    int count;
    long elements;
    long before;
    long after;
    Snr snr = Snr.NONE;
    final Map<List<Long>, Integer> shapes = new LinkedHashMap<>();

    void add(SafetensorsEntry entry, long bytesAfter, Snr noise) {
      count++;
      elements += entry.elements();
      before += entry.byteSize();
      after += bytesAfter;
      snr = snr.plus(noise);
      shapes.merge(Arrays.stream(entry.shape()).boxed().toList(), 1, Integer::sum);
    }

    /// `128x256 (192), 256x128 (96)`, or how many there are and the extremes.
    String shapes() {
      List<Map.Entry<List<Long>, Integer>> ordered = new ArrayList<>(shapes.entrySet());
      ordered.sort(Comparator.comparingLong(shape -> product(shape.getKey())));
      if (ordered.size() == 1) {
        return text(ordered.getFirst().getKey());
      }
      if (ordered.size() <= SHAPES_LISTED) {
        return ordered.stream()
            .map(shape -> text(shape.getKey()) + " (" + shape.getValue() + ")")
            .collect(Collectors.joining(", "));
      }
      return text(ordered.getFirst().getKey())
          + " to "
          + text(ordered.getLast().getKey())
          + ", "
          + ordered.size()
          + " shapes";
    }

    private static long product(List<Long> shape) {
      return shape.stream().reduce(1L, (a, b) -> a * b);
    }

    private static String text(List<Long> shape) {
      return shape.stream().map(String::valueOf).collect(Collectors.joining("x"));
    }

    Map<String, @Nullable Object> toMap() {
      Map<String, @Nullable Object> map = new LinkedHashMap<>();
      map.put("count", count);
      map.put("elements", elements);
      map.put("bytes_before", before);
      map.put("bytes_after", after);
      return map;
    }
  }

  void addQuantized(QuantizePlan.Selected tensor, Snr snr) {
    Row row = classes.computeIfAbsent(tensor.tensorClass(), c -> new Row());
    row.add(tensor.entry(), tensor.bytesAfter(), snr);
    quantized.add(tensor.entry(), tensor.bytesAfter(), snr);
  }

  void addKept(QuantizePlan.Left tensor) {
    long bytes = tensor.entry().byteSize();
    Row row = kept.computeIfAbsent(tensor.reason(), r -> new Row());
    row.add(tensor.entry(), bytes, Snr.NONE);
    left.add(tensor.entry(), bytes, Snr.NONE);
  }

  /// Prints tables.
  ///
  /// @param seconds from start to end, files included
  /// @param quantizeSeconds of them with the device
  void print(
      PrintWriter out,
      Device device,
      long fileBefore,
      long fileAfter,
      double seconds,
      double quantizeSeconds) {
    Table table =
        new Table("quantized", ">count", "shape", ">SNR dB", ">bytes before", ">bytes after");
    classes.forEach((tensorClass, row) -> add(table, tensorClass.title(), row, row.shapes()));
    add(table, "total", quantized, "");
    table.print(out);
    out.println();
    if (left.count > 0) {
      Table rest = new Table("copied bit for bit", ">count", "shape", ">bytes");
      kept.forEach(
          (reason, row) -> rest.add(reason.title(), row.count, row.shapes(), number(row.before)));
      rest.add("total", left.count, "", number(left.before));
      rest.print(out);
      out.println();
    }
    out.printf(
        Locale.ROOT,
        "file    %s bytes -> %s bytes (%.2f x smaller)%n",
        number(fileBefore),
        number(fileAfter),
        (double) fileBefore / fileAfter);
    out.printf(
        Locale.ROOT,
        "time    %.3f s, of which quantize %.3f s: %.1f M elements/s, %.3f GB/s%n",
        seconds,
        quantizeSeconds,
        quantized.elements / quantizeSeconds / 1e6,
        quantized.before / quantizeSeconds / 1e9);
    out.println("device  " + DeviceOptions.describe(device));
  }

  private static void add(Table table, String title, Row row, String shapes) {
    table.add(
        title,
        row.count,
        shapes,
        String.format(Locale.ROOT, "%.2f", row.snr.decibels()),
        number(row.before),
        number(row.after));
  }

  private static String number(long value) {
    return String.format(Locale.ROOT, "%,d", value);
  }

  /// The same as JSON; see [#print].
  Map<String, @Nullable Object> toMap(
      Device device, long fileBefore, long fileAfter, double seconds, double quantizeSeconds) {
    List<Object> rows = new ArrayList<>();
    classes.forEach((tensorClass, row) -> {
      Map<String, @Nullable Object> map = new LinkedHashMap<>();
      map.put("class", tensorClass.title());
      map.putAll(row.toMap());
      map.put("snr_db", row.snr.decibels());
      List<Object> shapes = new ArrayList<>();
      row.shapes.forEach((shape, count) -> {
        Map<String, Object> one = new LinkedHashMap<>();
        one.put("shape", shape);
        one.put("count", count);
        shapes.add(one);
      });
      map.put("shapes", shapes);
      rows.add(map);
    });
    List<Object> reasons = new ArrayList<>();
    kept.forEach((reason, row) -> {
      Map<String, @Nullable Object> map = new LinkedHashMap<>();
      map.put("reason", reason.title());
      map.putAll(row.toMap());
      reasons.add(map);
    });
    Map<String, @Nullable Object> total = new LinkedHashMap<>(quantized.toMap());
    total.put("snr_db", quantized.snr.decibels());
    Map<String, @Nullable Object> map = new LinkedHashMap<>();
    map.put("device", device.info().id());
    map.put("device_name", device.info().name());
    map.put("quantized", rows);
    map.put("quantized_total", total);
    map.put("copied", reasons);
    map.put("copied_total", left.toMap());
    map.put("file_bytes_before", fileBefore);
    map.put("file_bytes_after", fileAfter);
    map.put("seconds", seconds);
    map.put("quantize_seconds", quantizeSeconds);
    map.put("elements_per_second", quantized.elements / quantizeSeconds);
    return map;
  }
}
