// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.extension.ConditionEvaluationResult;
import org.junit.jupiter.api.extension.ExecutionCondition;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.extension.ExtensionContext;

/// A test that needs `cuda:0`: skipped with the reason where there is none; with
/// `-Dnvfp4j.gpu=required` it runs, and fails, nevertheless.
@Tag("gpu")
@ExtendWith(Gpu.Condition.class)
@Retention(RetentionPolicy.RUNTIME)
@Target({ElementType.TYPE, ElementType.METHOD})
@interface Gpu {
  /// Whether the machine has a GPU.
  final class Condition implements ExecutionCondition {
    @Override
    public ConditionEvaluationResult evaluateExecutionCondition(ExtensionContext context) {
      if ("required".equals(System.getProperty("nvfp4j.gpu"))) {
        return ConditionEvaluationResult.enabled("-Dnvfp4j.gpu=required");
      }
      try (Device device = Device.cuda(0)) {
        return ConditionEvaluationResult.enabled(device.toString());
      } catch (DeviceNotSupportedException e) {
        return ConditionEvaluationResult.disabled(e.getMessage());
      }
    }
  }
}
