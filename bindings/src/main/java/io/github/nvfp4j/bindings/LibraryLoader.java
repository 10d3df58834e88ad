// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import io.github.nvfp4j.bindings.generated.nvfp4j.nvfp4j_h;
import java.io.IOException;
import java.lang.foreign.SymbolLookup;
import java.lang.reflect.Method;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/// Tries the places of [NativeLibrary] in their order and keeps the reason of each that failed.
final class LibraryLoader {
  static final String LIBRARY_PROPERTY = "nvfp4j.library";
  static final String DIRECTORY_PROPERTY = "nvfp4j.native.dir";
  static final String LIBRARY_FILE = "libnvfp4j.so";

  /// Exactly one of the two is null.
  record Outcome(@Nullable Path file, @Nullable NativeLibraryException failure) {}

  private final List<String> reasons = new ArrayList<>();
  private @Nullable Throwable firstCause;

  private LibraryLoader() {}

  static Outcome load() {
    LibraryLoader loader = new LibraryLoader();
    try {
      Path file = loader.tryPlaces();
      if (file != null) {
        return new Outcome(file, null);
      }
    } catch (RuntimeException | LinkageError e) {
      loader.failed("unexpected failure", e.toString(), e);
    }
    String message = "libnvfp4j.so could not be loaded: " + String.join("; ", loader.reasons);
    return new Outcome(null, new NativeLibraryException(message, loader.firstCause));
  }

  private @Nullable Path tryPlaces() {
    String unsupported = Platform.unsupported();
    if (unsupported != null) {
      reasons.add(unsupported);
      return null;
    }
    String library = System.getProperty(LIBRARY_PROPERTY);
    if (library != null) {
      return tryGiven("-D" + LIBRARY_PROPERTY + "=" + library, library, "");
    }
    String directory = System.getProperty(DIRECTORY_PROPERTY);
    if (directory != null) {
      return tryGiven("-D" + DIRECTORY_PROPERTY + "=" + directory, directory, LIBRARY_FILE);
    }
    return tryUnpacked();
  }

  private @Nullable Path tryGiven(String place, String path, String child) {
    Path file;
    try {
      file = Path.of(path).resolve(child).toAbsolutePath().normalize();
    } catch (InvalidPathException e) {
      failed(place, "not a path: " + e.getMessage(), e);
      return null;
    }
    if (path.isBlank()) {
      reasons.add(place + ": the value is empty");
    } else if (!child.isEmpty() && !Files.isDirectory(file.getParent())) {
      reasons.add(place + ": no such directory");
    } else if (Files.isDirectory(file)) {
      reasons.add(
          place
              + ": a directory, expected a file (a directory goes into -D"
              + DIRECTORY_PROPERTY
              + ")");
    } else if (!Files.exists(file)) {
      reasons.add(place + ": " + (child.isEmpty() ? "no such file" : "it has no " + child));
    } else if (!Files.isReadable(file)) {
      reasons.add(place + ": " + file + " cannot be read");
    } else if (loadFile(place, file)) {
      return file;
    }
    return null;
  }

  private @Nullable Path tryUnpacked() {
    NativeResources resources;
    try {
      resources = NativeResources.find();
    } catch (IOException e) {
      failed("resources " + NativeResources.FOLDER, e.getMessage(), e);
      return null;
    }
    String place = "cache";
    try {
      Path cache = LibraryCache.userCache();
      place = "cache " + cache;
      Path folder = LibraryCache.unpack(resources, cache);
      Path file = folder.resolve(LIBRARY_FILE);
      boolean loaded = loadFile("cache " + file, file);
      if (!loaded && !Files.exists(file)) {
        // Another process found it unused a moment before, and removed it.
        LibraryCache.unpack(resources, cache);
        loaded = loadFile("cache " + file, file);
      }
      if (loaded) {
        LibraryCache.removeUnused(cache, folder);
        return file;
      }
      if (!noExecution()) {
        return null; // another copy of the same file would fail alike
      }
    } catch (NativeResources.DamagedException e) {
      failed(place, e.getMessage(), e);
      return null;
    } catch (IOException e) {
      failed(place, describe(e), e);
    }
    return tryTemporary(resources);
  }

  private @Nullable Path tryTemporary(NativeResources resources) {
    String place = "java.io.tmpdir " + System.getProperty("java.io.tmpdir");
    try {
      Path folder = Files.createTempDirectory("nvfp4j-"); // 0700
      try {
        LibraryCache.unpackAll(resources, folder);
        Path file = folder.resolve(LIBRARY_FILE);
        if (loadFile(place, file)) {
          return file;
        }
      } finally {
        LibraryCache.deleteFolder(folder); // a loaded library needs its file no more
      }
    } catch (IOException e) {
      failed(place, describe(e), e);
    }
    reasons.add(
        "set XDG_CACHE_HOME or -Djava.io.tmpdir to a directory that can be written and allows"
            + " execution, or unpack the library yourself and name it with -D"
            + LIBRARY_PROPERTY);
    return null;
  }

  private boolean noExecution() {
    // glibc's words for mmap(PROT_EXEC) refused by a noexec mount
    return reasons.getLast().contains("failed to map segment from shared object");
  }

  private boolean loadFile(String place, Path file) {
    try {
      loadOrAlias(file);
      verify(file);
      return true;
    } catch (UnsatisfiedLinkError | IOException e) {
      failed(place, e instanceof IOException io ? describe(io) : linkerReason(e, file), e);
    } catch (IllegalCallerException e) {
      Module module = LibraryLoader.class.getModule();
      failed(
          place,
          "native access is denied; run java with --enable-native-access="
              + (module.isNamed() ? module.getName() : "ALL-UNNAMED"),
          e);
    }
    return false;
  }

  private static void loadOrAlias(Path file) throws IOException {
    try {
      System.load(file.toString());
    } catch (UnsatisfiedLinkError e) {
      if (!String.valueOf(e.getMessage()).contains("already loaded in another classloader")) {
        throw e;
      }
      // The JVM goes by the file's name. The dynamic linker goes by the inode: through a hard link
      // both class loaders share
      // one library.
      LibraryCache.withAlias(file, alias -> System.load(alias.toString()));
    }
  }

  /// The loaded file is nvfp4j's, of our ABI version, and has every function of our header: a call
  /// that found none would end in a NoClassDefFoundError.
  private static void verify(Path file) throws IOException {
    SymbolLookup lookup = SymbolLookup.loaderLookup();
    if (lookup.find("nvfp4j_abi_version").isEmpty()) {
      throw new IOException("not an nvfp4j library: it exports no nvfp4j_abi_version");
    }
    int found = nvfp4j_h.nvfp4j_abi_version();
    int expected = nvfp4j_h.NVFP4J_ABI_VERSION();
    if (found != expected) {
      throw new IOException(
          "ABI version mismatch: "
              + file
              + " has version "
              + found
              + ", these Java classes need version "
              + expected);
    }
    TreeSet<String> missing = new TreeSet<>();
    for (Method method : nvfp4j_h.class.getMethods()) {
      String name = method.getName();
      if (name.startsWith("nvfp4j_") && name.indexOf('$') < 0 && lookup.find(name).isEmpty()) {
        missing.add(name);
      }
    }
    if (!missing.isEmpty()) {
      throw new IOException(
          "it is of another version than these Java classes: it lacks "
              + String.join(", ", missing));
    }
  }

  /// The dynamic linker's words, without the file's name in front of them, which the JVM and the
  /// linker each put there.
  private static String linkerReason(Throwable e, Path file) {
    String reason = String.valueOf(e.getMessage());
    while (reason.startsWith(file + ": ")) {
      reason = reason.substring(file.toString().length() + 2);
    }
    return reason;
  }

  private void failed(String place, @Nullable String reason, Throwable cause) {
    reasons.add(place + ": " + reason);
    if (firstCause == null) {
      firstCause = cause;
    }
  }

  private static String describe(IOException e) {
    return switch (e) {
      case NoSuchFileException missing -> missing.getFile() + " does not exist";
      case AccessDeniedException denied -> denied.getFile() + ": permission denied";
      default -> String.valueOf(e.getMessage());
    };
  }
}
