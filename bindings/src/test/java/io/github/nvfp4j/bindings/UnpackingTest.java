// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchException;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.lang.ProcessBuilder.Redirect;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// The library out of the natives jar: cache, repair, races, and where the cache cannot be used.
class UnpackingTest {
  @TempDir static Path shared;
  private static final String READ_ONLY =
      "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"";

  private static Path libraries;
  private static Path jar;

  @TempDir Path folder;
  private Path cache;
  private Path temporary;

  @BeforeAll
  static void compile() throws Exception {
    libraries = Stubs.good(shared.resolve("libraries")).getParent();
    jar = Stubs.jar(shared.resolve("jars/natives 1.jar"), libraries);
  }

  @BeforeEach
  void folders() throws IOException {
    cache = folder.resolve("cache");
    temporary = Files.createDirectory(folder.resolve("tmp"));
  }

  private Fork fork(Path natives) {
    return isolated(Fork.onClassPath(natives));
  }

  private Fork isolated(Fork fork) {
    return fork.environment("XDG_CACHE_HOME", cache).property("java.io.tmpdir", temporary);
  }

  /// The one folder in the cache.
  private Path unpacked() throws IOException {
    List<Path> folders = list(cache.resolve("nvfp4j"));
    assertThat(folders).hasSize(1);
    return folders.getFirst();
  }

  private static List<Path> list(Path folder) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.sorted().toList();
    }
  }

  private void assertUnpacked(Path unpacked) throws IOException {
    assertThat(list(unpacked))
        .containsExactly(unpacked.resolve("libcudart.so.13"), unpacked.resolve("libnvfp4j.so"));
    for (Path file : list(unpacked)) {
      assertThat(file).hasSameBinaryContentAs(libraries.resolve(file.getFileName()));
    }
    assertThat(
            list(temporary).stream()
                .filter(file -> file.getFileName().toString().contains("nvfp4j")))
        .isEmpty();
  }

  @Test
  void intoTheCache() throws Exception {
    List<String> lines = fork(jar).run("load", "runtime");
    Path unpacked = unpacked();
    assertThat(lines)
        .containsExactly(
            Stubs.LOADED + unpacked.resolve("libnvfp4j.so"),
            "runtime [" + unpacked.resolve("libcudart.so.13") + "]");
    assertThat(unpacked.getFileName().toString()).matches("1\\.2\\.3-[0-9a-f]{16}");
    assertUnpacked(unpacked);
    for (Path made : List.of(cache.resolve("nvfp4j"), unpacked)) {
      assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(made)))
          .isEqualTo("rwx------");
    }
  }

  @Test
  void belowTheHomeWithoutXdg() throws Exception {
    Path home = Files.createDirectory(folder.resolve("home"));
    for (String xdg : List.of("", "relative")) {
      String line =
          Fork.onClassPath(jar)
              .property("user.home", home)
              .environment("XDG_CACHE_HOME", xdg)
              .line("load");
      assertThat(line).startsWith(Stubs.LOADED + home.resolve(".cache/nvfp4j") + "/1.2.3-");
    }
  }

  @Test
  void theSecondTimeNothingIsWritten() throws Exception {
    fork(jar).line("load");
    Path library = unpacked().resolve("libnvfp4j.so");
    Object inode = Files.getAttribute(library, "unix:ino");
    FileTime time = Files.getLastModifiedTime(library);
    assertThat(fork(jar).line("load")).isEqualTo(Stubs.LOADED + library);
    assertThat(Files.getAttribute(library, "unix:ino")).isEqualTo(inode);
    assertThat(Files.getLastModifiedTime(library)).isEqualTo(time);
  }

  @Test
  void otherContentIsAnotherFolder() throws Exception {
    Path other = Stubs.withoutCuda(folder.resolve("other"));
    fork(jar).line("load");
    fork(Stubs.jar(folder.resolve("jars/other.jar"), other.getParent())).line("load");
    assertThat(list(cache.resolve("nvfp4j"))).hasSize(2);
  }

  @Test
  void aCorruptCacheIsRepaired() throws Exception {
    fork(jar).line("load");
    Path unpacked = unpacked();
    Path library = unpacked.resolve("libnvfp4j.so");
    Path runtime = unpacked.resolve("libcudart.so.13");

    byte[] bytes = Files.readAllBytes(library);
    bytes[bytes.length / 2] ^= 1; // one bit of the library
    Files.write(library, bytes);
    assertThat(fork(jar).line("load")).isEqualTo(Stubs.LOADED + library);
    assertUnpacked(unpacked);

    Files.write(runtime, new byte[0]); // as a full disk leaves it
    Files.delete(library);
    Files.createSymbolicLink(library, Path.of("/nowhere"));
    assertThat(fork(jar).line("load")).isEqualTo(Stubs.LOADED + library);
    assertUnpacked(unpacked);
  }

  @Test
  void manyProcessesAtOnce() throws Exception {
    List<Process> processes = new ArrayList<>();
    for (int i = 0; i < 6; i++) {
      processes.add(fork(jar).start("load"));
    }
    for (Process process : processes) {
      assertThat(Fork.await(process))
          .hasSize(1)
          .first()
          .asString()
          .startsWith(Stubs.LOADED + cache);
    }
    assertUnpacked(unpacked());
  }

  @Test
  void severalClassLoaders() throws Exception {
    List<String> lines = fork(jar).run("loaders");
    String library = unpacked().resolve("libnvfp4j.so").toString();
    // One file under several names, so the process has it once.
    assertThat(lines)
        .containsExactly(
            Stubs.LOADED + library,
            Stubs.LOADED + library,
            Stubs.LOADED + library,
            "maps [" + library + "]");
    assertUnpacked(unpacked());
  }

  @Test
  void severalClassLoadersWithoutACache() throws Exception {
    cache = Path.of("/proc/nvfp4j-cannot-write-here");
    assertThat(fork(jar).run("loaders").subList(0, 3))
        .allSatisfy(line -> assertThat(line).startsWith(Stubs.LOADED + temporary));
    assertThat(
            list(temporary).stream()
                .filter(file -> file.getFileName().toString().contains("nvfp4j")))
        .isEmpty();
  }

  @Test
  void severalClassLoadersWithAGivenFile() throws Exception {
    Path library = libraries.resolve("libnvfp4j.so");
    assertThat(
            isolated(Fork.onClassPath())
                .property("nvfp4j.library", library)
                .run("loaders")
                .subList(0, 3))
        .containsOnly(Stubs.LOADED + library);
    assertThat(list(libraries)).hasSize(2);
  }

  @Test
  void anAliasAcrossFileSystemsIsACopy() throws Exception {
    Path elsewhere = Path.of("/dev/shm");
    assumeTrue(
        Files.isWritable(elsewhere)
            && !Files.getFileStore(elsewhere).equals(Files.getFileStore(temporary)),
        "/dev/shm is not another file system that can be written");
    Path target = Files.createTempDirectory(elsewhere, "nvfp4j-test-");
    try {
      Path file = Files.write(target.resolve("libnvfp4j.so"), new byte[] {1, 2, 3});
      Files.write(target.resolve("libcudart.so.13"), new byte[] {4});
      List<Path> aliases = new ArrayList<>();
      LibraryCache.withAliasElsewhere(
          file,
          "alias.so",
          alias -> {
            aliases.add(alias);
            assertThat(alias).hasBinaryContent(new byte[] {1, 2, 3});
            assertThat(alias.resolveSibling("libcudart.so.13")).hasBinaryContent(new byte[] {4});
          });
      assertThat(aliases).hasSize(1);
      assertThat(aliases.getFirst().getParent()).doesNotExist();
    } finally {
      LibraryCache.deleteFolder(target);
    }
  }

  @Test
  void aCacheThatCannotBeWritten() throws Exception {
    cache = Path.of("/proc/nvfp4j-cannot-write-here");
    assertThat(fork(jar).line("load")).startsWith(Stubs.LOADED + temporary.resolve("nvfp4j-"));
    assertThat(
            list(temporary).stream()
                .filter(file -> file.getFileName().toString().contains("nvfp4j")))
        .isEmpty();
  }

  @Test
  void noHome() throws Exception {
    Fork fork =
        Fork.onClassPath(jar).property("user.home", "?").property("java.io.tmpdir", temporary);
    assertThat(fork.line("load")).startsWith(Stubs.LOADED + temporary.resolve("nvfp4j-"));
  }

  @Test
  void nowhereToUnpack() throws Exception {
    cache = Path.of("/proc/nvfp4j-cannot-write-here");
    temporary = Path.of("/proc/nvfp4j-nor-here");
    assertThat(fork(jar).line("load"))
        .startsWith(
            "failed libnvfp4j.so could not be loaded: cache " + cache.resolve("nvfp4j") + ": ")
        .contains("; java.io.tmpdir " + temporary + ": ")
        .endsWith(
            "; set XDG_CACHE_HOME or -Djava.io.tmpdir to a directory that can be written and allows"
                + " execution, or unpack the library yourself and name it with -Dnvfp4j.library");
  }

  @Test
  void aFileInThePlaceOfTheCache() throws Exception {
    Files.createDirectory(cache);
    Files.writeString(cache.resolve("nvfp4j"), "in the way");
    temporary = Path.of("/proc/nvfp4j-nor-here");
    assertThat(fork(jar).line("load"))
        .contains(
            "cache "
                + cache.resolve("nvfp4j")
                + ": "
                + cache.resolve("nvfp4j")
                + " is not a directory");
  }

  @Test
  void aCacheOpenToOthersIsNotTrusted() throws Exception {
    fork(jar).line("load");
    Path unpacked = unpacked();
    Files.setPosixFilePermissions(unpacked, PosixFilePermissions.fromString("rwxrwx---"));
    assertThat(fork(jar).line("load")).startsWith(Stubs.LOADED + temporary);
    temporary = Path.of("/proc/nvfp4j-nor-here");
    assertThat(fork(jar).line("load"))
        .contains(unpacked + " has mode rwxrwx---: other users can write to it");
  }

  /// Words in front of `java` that give it a mount namespace of its own, where `mount`, a shell
  /// command with `$0` for the folder, changes `folder`; skips the test where that is not allowed.
  private static String[] mounted(String mount, Path folder) throws Exception {
    String[] words = {
      "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", "", folder.toString()
    };
    words[6] = mount;
    boolean allowed;
    try {
      Process process =
          new ProcessBuilder(words)
              .redirectErrorStream(true)
              .redirectOutput(Redirect.DISCARD)
              .start();
      allowed = process.waitFor() == 0;
    } catch (IOException e) {
      allowed = false;
    }
    assumeTrue(allowed, "unshare cannot mount here");
    words[6] = mount + " && exec \"$@\"";
    return words;
  }

  @Test
  void aCacheThatForbidsExecution() throws Exception {
    Files.createDirectory(cache);
    String[] noexec = mounted("mount -t tmpfs -o noexec tmpfs \"$0\"", cache);
    assertThat(fork(jar).prefix(noexec).line("load")).startsWith(Stubs.LOADED + temporary);
    temporary = Path.of("/proc/nvfp4j-nor-here");
    assertThat(fork(jar).prefix(noexec).line("load"))
        .startsWith("failed libnvfp4j.so could not be loaded: cache " + cache)
        .contains("libnvfp4j.so: failed to map segment from shared object")
        .endsWith(
            "set XDG_CACHE_HOME or -Djava.io.tmpdir to a directory that can be written and allows "
                + "execution, or unpack the library yourself and name it with -Dnvfp4j.library");
  }

  @Test
  void aReadOnlyHome() throws Exception {
    Path home = Files.createDirectory(folder.resolve("home"));
    String[] readOnly = mounted(READ_ONLY, home);
    Fork fork = Fork.onClassPath(jar).prefix(readOnly).property("user.home", home);
    assertThat(fork.property("java.io.tmpdir", temporary).line("load"))
        .startsWith(Stubs.LOADED + temporary);
    assertThat(fork.property("java.io.tmpdir", home).line("load"))
        .contains(
            "cache "
                + home.resolve(".cache/nvfp4j")
                + ": "
                + home.resolve(".cache")
                + ": Read-only file system",
            "; java.io.tmpdir " + home + ": ");
  }

  @Test
  void severalClassLoadersWithAFileInAReadOnlyFolder() throws Exception {
    Path library = libraries.resolve("libnvfp4j.so");
    String[] readOnly = mounted(READ_ONLY, libraries);
    Fork fork = isolated(Fork.onClassPath()).prefix(readOnly).property("nvfp4j.library", library);
    assertThat(fork.run("loaders").subList(0, 3)).containsOnly(Stubs.LOADED + library);
    assertThat(
            list(temporary).stream()
                .filter(file -> file.getFileName().toString().contains("nvfp4j")))
        .isEmpty();
  }

  @Test
  void aFullDiskIsNamedWithItsFile() throws Exception {
    Files.createDirectory(cache);
    temporary = Path.of("/proc/nvfp4j-nor-here");
    String[] full = mounted("mount -t tmpfs -o size=4k,mode=0700 tmpfs \"$0\"", cache);
    assertThat(fork(jar).prefix(full).line("load"))
        .containsPattern(
            "cache "
                + cache.resolve("nvfp4j")
                + ": "
                + cache.resolve("nvfp4j")
                + "/1\\.2\\.3-[0-9a-f]{16}/lib[a-z0-9.]+: No space left on device");
  }

  @Test
  void whatNobodyUsedForLongIsRemoved() throws Exception {
    fork(jar).line("load");
    Path used = unpacked();
    Path ours = cache.resolve("nvfp4j");
    FileTime old = FileTime.from(Instant.now().minus(Duration.ofDays(31)));
    Path stale = folderOf(ours, "0.9.0-0123456789abcdef", old);
    Path fresh =
        folderOf(
            ours,
            "0.9.1-0123456789abcdef",
            FileTime.from(Instant.now().minus(Duration.ofDays(29))));
    Path build = folderOf(ours, "cuda-13.0-b0b74c68db42", old);
    Path other = Files.createDirectory(ours.resolve("1.0-0123456789abcdef"));
    Files.createDirectory(other.resolve("somebody's"));
    Files.setLastModifiedTime(other, old);
    Path left = folderOf(ours, ".removed-5", old);
    Files.setLastModifiedTime(used, old); // In use nevertheless: a use counts.
    assertThat(fork(jar).line("load")).isEqualTo(Stubs.LOADED + used.resolve("libnvfp4j.so"));
    assertThat(list(ours)).containsExactlyInAnyOrder(used, fresh, build, other);
    assertThat(stale).doesNotExist();
    assertThat(left).doesNotExist();
    assertUnpacked(used);
    assertThat(Files.getLastModifiedTime(used).toInstant())
        .isAfter(Instant.now().minus(Duration.ofHours(1)));
  }

  @Test
  void whatIsUsedAtThisMomentStays() throws Exception {
    Path ours = Files.createDirectory(cache);
    Instant limit = Instant.now().minus(Duration.ofDays(30));
    Path touched =
        folderOf(ours, "1.0-0123456789abcdef", FileTime.from(limit.plus(Duration.ofSeconds(1))));
    assertThat(LibraryCache.removeBefore(touched, limit)).isFalse();
    assertThat(touched.resolve("libnvfp4j.so")).exists();
    Path link = Files.createSymbolicLink(ours.resolve("2.0-0123456789abcdef"), touched);
    assertThat(LibraryCache.removeBefore(link, Instant.now().plus(Duration.ofDays(1)))).isFalse();
    assertThat(touched.resolve("libnvfp4j.so")).exists();
    assertThat(LibraryCache.removeBefore(touched, Instant.now().plus(Duration.ofDays(1)))).isTrue();
    assertThat(LibraryCache.removeBefore(touched, limit)).isFalse(); // Gone already.
    assertThat(list(ours)).containsExactly(link);
  }

  private static Path folderOf(Path cache, String name, FileTime time) throws IOException {
    Path folder = Files.createDirectory(cache.resolve(name));
    Files.writeString(folder.resolve("libnvfp4j.so"), name);
    Files.setLastModifiedTime(folder, time);
    return folder;
  }

  @Test
  void whatIsRemovedWhileItIsUnpackedIsUnpackedAgain() throws Exception {
    StringBuilder sums = new StringBuilder();
    for (Path file : list(libraries)) {
      sums.append(Stubs.sha256(Files.readAllBytes(file)))
          .append("  ")
          .append(file.getFileName())
          .append('\n');
    }
    Path ours = cache.resolve("nvfp4j");
    for (String last : List.of("libcudart.so.13", "libnvfp4j.so")) {
      List<Boolean> removals = new ArrayList<>();
      NativeResources resources =
          NativeResources.parse(
              sums.toString(),
              name -> {
                if (name.equals(last) && removals.isEmpty()) {
                  // As by a process that looked before the folder was touched.
                  removals.add(
                      LibraryCache.removeBefore(
                          unpacked(), Instant.now().plus(Duration.ofDays(1))));
                }
                return Files.newInputStream(libraries.resolve(name));
              });
      assertUnpacked(LibraryCache.unpack(resources, ours));
      assertThat(removals).containsExactly(true);
      LibraryCache.deleteFolder(unpacked());
    }
  }

  @Test
  void manyProcessesRemoveAndUse() throws Exception {
    // Each finds the other's folder unused for long: whatever is removed under a process is
    // unpacked again.
    Path other =
        Stubs.jar(
            folder.resolve("jars/other.jar"),
            Stubs.withoutCuda(folder.resolve("other")).getParent());
    fork(jar).line("load");
    fork(other).line("load");
    FileTime old = FileTime.from(Instant.now().minus(Duration.ofDays(100)));
    for (int round = 0; round < 3; round++) {
      for (Path unpacked : list(cache.resolve("nvfp4j"))) {
        Files.setLastModifiedTime(unpacked, old);
      }
      List<Process> processes = new ArrayList<>();
      for (int i = 0; i < 3; i++) {
        processes.add(fork(jar).start("load"));
        processes.add(fork(other).start("load"));
      }
      for (Process process : processes) {
        assertThat(Fork.await(process).getFirst()).startsWith(Stubs.LOADED);
      }
    }
  }

  @Test
  void noNativesJar() throws Exception {
    assertThat(isolated(Fork.onClassPath()).line("load"))
        .isEqualTo(
            "failed libnvfp4j.so could not be loaded: resources META-INF/native/linux-x86_64/: no"
                + " libnvfp4j.so there on the class path or module path; add nvfp4j-native with the"
                + " classifier linux-x86_64");
  }

  @Test
  void noSums() throws Exception {
    Path bad =
        Stubs.jar(folder.resolve("jars/bad.jar"), libraries, Map.of("SHA256SUMS", new byte[0]));
    assertThat(fork(bad).line("load")).contains("no SHA256SUMS there");
  }

  @Test
  void aDamagedJar() throws Exception {
    byte[] damaged = Files.readAllBytes(libraries.resolve("libcudart.so.13"));
    damaged[100] ^= 1;
    Path bad =
        Stubs.jar(folder.resolve("jars/bad.jar"), libraries, Map.of("libcudart.so.13", damaged));
    String right = Stubs.sha256(Files.readAllBytes(libraries.resolve("libcudart.so.13")));
    assertThat(fork(bad).line("load"))
        .startsWith("failed libnvfp4j.so could not be loaded: cache ")
        .endsWith(
            "the jar is damaged: its libcudart.so.13 has sha256 "
                + Stubs.sha256(damaged)
                + ", SHA256SUMS says "
                + right);
    assertThat(list(unpacked())).isEmpty();
  }

  @Test
  void aJarWithoutItsRuntime() throws Exception {
    Path bad =
        Stubs.jar(
            folder.resolve("jars/bad.jar"), libraries, Map.of("libcudart.so.13", new byte[0]));
    assertThat(fork(bad).line("load"))
        .contains("SHA256SUMS names libcudart.so.13, but ", " is missing");
  }

  @Test
  void sums() throws Exception {
    String sum = "0".repeat(64);
    NativeResources plain = NativeResources.parse(sum + "  libnvfp4j.so\n");
    assertThat(plain.folderName()).startsWith("dev-");
    NativeResources named =
        NativeResources.parse("# nvfp4j 0.1.0-SNAPSHOT\n\n" + sum + " *libnvfp4j.so\n# more\n");
    assertThat(named.folderName()).startsWith("0.1.0-SNAPSHOT-");
    assertThat(named.sums()).containsExactly(Map.entry("libnvfp4j.so", sum));
    for (String bad :
        List.of("", "# nvfp4j 1", "nonsense", sum + "  ../libnvfp4j.so", sum + "  x/y")) {
      assertThat(catchException(() -> NativeResources.parse(bad)))
          .as(bad)
          .isInstanceOf(IOException.class);
    }
  }

  @Test
  void onTheModulePath() throws Exception {
    assertThat(isolated(Fork.onModulePath(jar)).run("module", "load"))
        .containsExactly(
            "module io.github.nvfp4j.bindings", Stubs.LOADED + unpacked().resolve("libnvfp4j.so"));
    assertThat(isolated(Fork.onModulePath(jar)).withoutNativeAccess().line("load"))
        .endsWith("run java with --enable-native-access=io.github.nvfp4j.bindings");
  }

  @Test
  void linkedIntoARuntime() throws Exception {
    Path jlink = Path.of(System.getProperty("java.home"), "bin", "jlink");
    assumeTrue(Files.isExecutable(jlink), jlink + " does not exist");
    Path image = folder.resolve("image");
    Process process =
        new ProcessBuilder(
                jlink.toString(),
                "-p",
                Fork.bindings() + ":" + jar,
                "--add-modules",
                "io.github.nvfp4j.bindings",
                "--output",
                image.toString())
            .redirectErrorStream(true)
            .start();
    String output = new String(process.getInputStream().readAllBytes());
    assertThat(process.waitFor()).as(output).isZero();
    assertThat(isolated(Fork.linked(image)).run("module", "load"))
        .containsExactly(
            "module io.github.nvfp4j.bindings", Stubs.LOADED + unpacked().resolve("libnvfp4j.so"));
  }
}
