// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.Device;
import io.github.nvfp4j.DeviceNotSupportedException;
import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.extension.ConditionEvaluationResult;
import org.junit.jupiter.api.extension.ExecutionCondition;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.LifecycleMethodExecutionExceptionHandler;
import org.junit.jupiter.api.extension.TestExecutionExceptionHandler;
import org.opentest4j.TestAbortedException;

/// A test that needs `cuda:0`: skipped with the reason where there is none; with
/// `-Dnvfp4j.gpu=required` it runs, and fails, nevertheless, and so does one that gives up
/// half-way. The one way to tag a `gpu` test in this module.
@Tag("gpu")
@ExtendWith(Gpu.Condition.class)
@Retention(RetentionPolicy.RUNTIME)
@Target({ElementType.TYPE, ElementType.METHOD})
@interface Gpu {
  /// Whether the machine has a GPU.
  final class Condition
      implements ExecutionCondition,
          TestExecutionExceptionHandler,
          LifecycleMethodExecutionExceptionHandler {
    private static boolean required() {
      return "required".equals(System.getProperty("nvfp4j.gpu"));
    }

    @Override
    public ConditionEvaluationResult evaluateExecutionCondition(ExtensionContext context) {
      if (required()) {
        return ConditionEvaluationResult.enabled("-Dnvfp4j.gpu=required");
      }
      try (Device device = Device.cuda(0)) {
        return ConditionEvaluationResult.enabled(device.toString());
      } catch (DeviceNotSupportedException e) {
        return ConditionEvaluationResult.disabled(e.getMessage());
      }
    }

    @Override
    public void handleTestExecutionException(ExtensionContext context, Throwable thrown)
        throws Throwable {
      throw failing(thrown);
    }

    @Override
    public void handleBeforeEachMethodExecutionException(ExtensionContext context, Throwable thrown)
        throws Throwable {
      throw failing(thrown);
    }

    private static Throwable failing(Throwable thrown) {
      return required() && thrown instanceof TestAbortedException
          ? new AssertionError(
              "skipped, with -Dnvfp4j.gpu=required: " + thrown.getMessage(), thrown)
          : thrown;
    }
  }
}
