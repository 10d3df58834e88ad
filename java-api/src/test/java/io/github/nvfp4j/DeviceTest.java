// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.nvfp4j.bindings.NativeLibrary;
import java.io.File;
import java.lang.foreign.Arena;
import java.net.URI;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// What has to do with finding devices and the library.
@Tag("cpu")
final class DeviceTest {
  @Test
  void aMissingGpuIsRefusedWithTheReason() {
    assumeTrue(Device.all().size() == 1, "this machine has a GPU");
    assertThatThrownBy(() -> Device.cuda(0))
        .isExactlyInstanceOf(DeviceNotSupportedException.class)
        .hasMessageStartingWith("device: cuda:0: ")
        .satisfies(e -> {
          DeviceNotSupportedException refusal = (DeviceNotSupportedException) e;
          assertThat(refusal.status()).isEqualTo(Status.NOT_SUPPORTED);
          assertThat(refusal.op()).isNull();
          assertThat(refusal.getMessage())
              .containsAnyOf("built without CUDA", "cudaGetDeviceCount");
        });
    assertThatThrownBy(() -> Device.of("cuda:3"))
        .isExactlyInstanceOf(DeviceNotSupportedException.class)
        .hasMessageStartingWith("device: cuda:3: ");
  }

  @Test
  void aGpuThatDoesNotExistIsRefused() {
    assertThatThrownBy(() -> Device.cuda(999))
        .isExactlyInstanceOf(DeviceNotSupportedException.class)
        .hasMessageContaining("cuda:999");
  }

  @Test
  void hostMemoryThatIsNotThereIsRefused() {
    try (Device device = Device.cpu(1);
        Arena arena = Arena.ofConfined()) {
      assertThatThrownBy(() -> device.allocate(arena, DType.U8, 1L << 60))
          .isExactlyInstanceOf(OutOfDeviceMemoryException.class)
          .hasMessage("allocate: cpu has no room for 1152921504606846976 bytes");
    }
  }

  @Test
  void severalHandlesTakeEachOthersTensors() {
    try (Device one = Device.cpu(1);
        Device two = Device.cpu(3);
        Stream stream = two.openStream();
        Arena arena = Arena.ofConfined()) {
      Tensor x = one.allocate(arena, DType.F32, 64, 64);
      Quantize.dynamic(stream, x, two.allocateNvfp4(arena, 64, 64));
      stream.synchronize();
    }
  }

  @Test
  void aLibraryThatCannotBeLoadedIsOneExceptionEachTime() throws Exception {
    String classPath =
        String.join(
            File.pathSeparator,
            location(Device.class),
            location(NativeLibrary.class),
            probeLocation());
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED",
                "-Dnvfp4j.library=/nowhere/libnvfp4j.so",
                "-cp",
                classPath,
                LoadProbe.class.getName())
            .redirectErrorStream(true)
            .start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
    assertThat(process.exitValue()).as(output).isZero();
    assertThat(output.lines())
        .as(output)
        .hasSize(4)
        .allSatisfy(line ->
            assertThat(line).contains("LibraryLoadException: ").contains("/nowhere/libnvfp4j.so"));
  }

  /// Run in a JVM of its own.
  static final class LoadProbe {
    private LoadProbe() {}

    public static void main(String[] args) {
      Runnable[] uses = {Device::cpu, () -> Device.cuda(0), Device::all, Nvfp4j::version};
      for (Runnable use : uses) {
        try {
          use.run();
          System.out.println("loaded");
        } catch (RuntimeException e) {
          System.out.println(e.toString().replace('\n', ' '));
        }
      }
    }
  }

  private static String location(Class<?> type) throws URISyntaxException {
    return Path.of(type.getProtectionDomain().getCodeSource().getLocation().toURI()).toString();
  }

  // Where the tests are: as a patch of the module they have no code source of their own.
  private static String probeLocation() throws URISyntaxException {
    String file = DeviceTest.class.getName().replace('.', '/') + ".class";
    URL url = DeviceTest.class.getResource("/" + file);
    assertThat(url).isNotNull();
    if (url.getProtocol().equals("jar")) {
      String jar = url.getPath();
      return Path.of(URI.create(jar.substring(0, jar.indexOf("!/")))).toString();
    }
    Path path = Path.of(url.toURI());
    return path.getRoot()
        .resolve(path.subpath(0, path.getNameCount() - Path.of(file).getNameCount()))
        .toString();
  }
}
