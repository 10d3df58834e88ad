// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.DigestInputStream;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.Instant;
import java.util.HexFormat;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.regex.Pattern;

/// The library's files on disk: unpacked once for each content, checked before every use, repaired
/// when they are not what they should be. Any number of processes may do so at once.
final class LibraryCache {
  private static final Set<PosixFilePermission> OWNER_ONLY =
      PosixFilePermissions.fromString("rwx------");

  /// A folder that nobody used for so long is removed.
  private static final Duration UNUSED = Duration.ofDays(30);

  /// How exactly it is known when a folder was used last: a use within that time writes nothing.
  private static final Duration PRECISION = Duration.ofDays(1);

  // What NativeResources names a folder; a build's folders beside it have other names.
  private static final Pattern UNPACKED = Pattern.compile("[A-Za-z0-9._+-]+-[0-9a-f]{16}");
  private static final String REMOVED = ".removed-";

  private LibraryCache() {}

  /// `$XDG_CACHE_HOME/nvfp4j`, else `~/.cache/nvfp4j`. Not created here.
  ///
  /// @throws IOException when the user has no home
  static Path userCache() throws IOException {
    String xdg = System.getenv("XDG_CACHE_HOME");
    if (xdg != null && xdg.startsWith("/")) { // its specification: a relative path is to be ignored
      return Path.of(xdg, "nvfp4j");
    }
    String home = System.getProperty("user.home", "");
    if (!home.startsWith("/")) {
      throw new IOException("XDG_CACHE_HOME is not set and user.home is '" + home + "'");
    }
    return Path.of(home, ".cache", "nvfp4j");
  }

  /// The files of `resources`, in a folder below `cache`.
  ///
  /// @throws IOException when the folder cannot be made or written, or is open to other users
  static Path unpack(NativeResources resources, Path cache) throws IOException {
    Path folder = cache.resolve(resources.folderName());
    Files.createDirectories(cache.getParent());
    createPrivate(cache, false);
    try {
      unpackInto(resources, folder);
    } catch (NoSuchFileException e) {
      // Another process found the folder unused before it was touched here, and removed it. Not
      // again: this one makes a new one.
      unpackInto(resources, folder);
    }
    return folder;
  }

  private static void unpackInto(NativeResources resources, Path folder) throws IOException {
    createPrivate(folder, true);
    touch(folder); // before anything in it is relied on: see removeUnused
    unpackAll(resources, folder);
  }

  private static void touch(Path folder) {
    Instant now = Instant.now();
    try {
      if (Files.getLastModifiedTime(folder).toInstant().isBefore(now.minus(PRECISION))) {
        Files.setLastModifiedTime(folder, FileTime.from(now));
      }
    } catch (IOException e) {
      // A cache that cannot be written: nobody removes anything from it either. Or one whose folder
      // was removed at this moment: unpackAll finds out.
      return;
    }
  }

  /// Removes what other versions unpacked and nobody used for 30 days. Leaves alone what is not
  /// this library's, and what cannot be removed.
  ///
  /// A process that has loaded a removed file keeps it: the mapping holds the inode. One that is
  /// about to load it has touched the folder, and is seen; where it does so at this very moment, it
  /// finds folder or file gone ([#unpack], [LibraryLoader]) and unpacks again.
  ///
  /// @param used the folder in use
  static void removeUnused(Path cache, Path used) {
    Instant limit = Instant.now().minus(UNUSED);
    try (DirectoryStream<Path> folders = Files.newDirectoryStream(cache)) {
      for (Path folder : folders) {
        String name = folder.getFileName().toString();
        if (name.startsWith(REMOVED)) {
          // Of a process that ended while it removed.
          removeBefore(folder, Instant.now().minus(PRECISION));
        } else if (UNPACKED.matcher(name).matches() && !folder.equals(used)) {
          removeBefore(folder, limit);
        }
      }
    } catch (IOException | DirectoryIteratorException e) {
      return; // another time
    }
  }

  /// Removes a folder of plain files if it was not used since `limit`.
  ///
  /// @return whether it is gone
  static boolean removeBefore(Path folder, Instant limit) {
    try {
      if (!isUnused(folder, limit) || !hasPlainFilesOnly(folder)) {
        return false;
      }
      // In one step, so that nobody meets half of it; then a second look, for whoever came between.
      Path removed = folder.resolveSibling(REMOVED + UUID.randomUUID());
      Files.move(folder, removed, StandardCopyOption.ATOMIC_MOVE);
      if (!isUnused(removed, limit) && !Files.exists(folder)) {
        Files.move(removed, folder, StandardCopyOption.ATOMIC_MOVE);
        return false;
      }
      deleteFolder(removed);
      return true;
    } catch (IOException e) {
      return false; // another process removes it, or it is not ours to remove
    }
  }

  private static boolean isUnused(Path folder, Instant limit) throws IOException {
    BasicFileAttributes attributes =
        Files.readAttributes(folder, BasicFileAttributes.class, LinkOption.NOFOLLOW_LINKS);
    return attributes.isDirectory() && attributes.lastModifiedTime().toInstant().isBefore(limit);
  }

  private static boolean hasPlainFilesOnly(Path folder) throws IOException {
    try (DirectoryStream<Path> files = Files.newDirectoryStream(folder)) {
      for (Path file : files) {
        if (!Files.isRegularFile(file, LinkOption.NOFOLLOW_LINKS)) {
          return false;
        }
      }
    }
    return true;
  }

  /// Unpacks into an existing folder whatever is not there with the right content yet. libnvfp4j
  /// needs the others, so it comes last.
  static void unpackAll(NativeResources resources, Path folder) throws IOException {
    Map<String, String> sums = resources.sums();
    for (String name : sums.keySet()) {
      if (!name.equals(LibraryLoader.LIBRARY_FILE)) {
        unpackOne(resources, name, sums.get(name), folder);
      }
    }
    String library = LibraryLoader.LIBRARY_FILE;
    unpackOne(resources, library, sums.get(library), folder);
  }

  private static void unpackOne(NativeResources resources, String name, String sum, Path folder)
      throws IOException {
    Path file = folder.resolve(name);
    if (sum.equals(sumOf(file))) {
      return;
    }
    Path temporary = folder.resolve("." + name + "." + UUID.randomUUID());
    try {
      MessageDigest digest = NativeResources.sha256();
      try (InputStream in = new DigestInputStream(resources.openFile(name), digest);
          OutputStream out =
              Files.newOutputStream(
                  temporary, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
        in.transferTo(out);
      } catch (FileSystemException | NativeResources.DamagedException e) {
        throw e; // names its file
      } catch (IOException e) {
        // "No space left on device": of which?
        throw new IOException(file + ": " + e.getMessage(), e);
      }
      String found = HexFormat.of().formatHex(digest.digest());
      if (!found.equals(sum)) {
        throw new NativeResources.DamagedException(
            "the jar is damaged: its "
                + name
                + " has sha256 "
                + found
                + ", SHA256SUMS says "
                + sum);
      }
      Files.move(
          temporary, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    } finally {
      Files.deleteIfExists(temporary);
    }
  }

  /// The file's SHA-256 in hex, or an empty string when it is not there or not a file that can be
  /// read: then it is replaced.
  private static String sumOf(Path file) {
    MessageDigest digest = NativeResources.sha256();
    try (InputStream in = Files.newInputStream(file, LinkOption.NOFOLLOW_LINKS)) {
      byte[] buffer = new byte[1 << 16];
      for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
        digest.update(buffer, 0, n);
      }
    } catch (IOException e) {
      return "";
    }
    return HexFormat.of().formatHex(digest.digest());
  }

  /// Makes a folder of mode 0700, or checks one that is there: whoever can write into it can run
  /// code as this user. The cache's own folder may be there already with what a umask of 002 gives
  /// it, open to the user's group.
  private static void createPrivate(Path folder, boolean refuseGroup) throws IOException {
    try {
      Files.createDirectory(folder, PosixFilePermissions.asFileAttribute(OWNER_ONLY));
    } catch (FileAlreadyExistsException e) {
      if (!Files.exists(folder, LinkOption.NOFOLLOW_LINKS)) {
        throw new NoSuchFileException(folder.toString()); // it was there a moment ago
      }
      if (!Files.isDirectory(folder)) {
        throw new IOException(folder + " is not a directory", e);
      }
    }
    Object owner = Files.getAttribute(folder, "unix:uid");
    Object self = Files.getAttribute(Path.of("/proc/self"), "unix:uid");
    if (!owner.equals(self)) {
      throw new IOException(folder + " belongs to uid " + owner + ", this process runs as " + self);
    }
    Set<PosixFilePermission> permissions = Files.getPosixFilePermissions(folder);
    if (permissions.contains(PosixFilePermission.OTHERS_WRITE)
        || (refuseGroup && permissions.contains(PosixFilePermission.GROUP_WRITE))) {
      throw new IOException(
          folder
              + " has mode "
              + PosixFilePermissions.toString(permissions)
              + ": other users can write to it");
    }
  }

  /// Something to do with another name of a file.
  @FunctionalInterface
  interface AliasAction {
    void run(Path alias) throws IOException;
  }

  /// Gives a file another, unique name for as long as `action` runs: a hard link beside it, else a
  /// hard link in a temporary folder, else a copy there (with the CUDA runtime, which it looks for
  /// beside itself).
  static void withAlias(Path given, AliasAction action) throws IOException {
    Path file = given.toRealPath(); // the dynamic linker looks for the runtime beside the real file
    String name = "libnvfp4j-" + UUID.randomUUID() + ".so";
    Path beside = file.resolveSibling(name);
    if (tryLink(beside, file)) {
      try {
        action.run(beside);
      } finally {
        Files.deleteIfExists(beside);
      }
      return;
    }
    withAliasElsewhere(file, name, action);
  }

  static void withAliasElsewhere(Path file, String name, AliasAction action) throws IOException {
    Path folder = Files.createTempDirectory("nvfp4j-");
    try {
      Path alias = folder.resolve(name);
      if (!tryLink(alias, file)) {
        Files.copy(file, alias);
        copySiblings(file.getParent(), folder);
      }
      action.run(alias);
    } finally {
      deleteFolder(folder);
    }
  }

  private static boolean tryLink(Path link, Path file) {
    try {
      Files.createLink(link, file);
      return true;
    } catch (IOException | UnsupportedOperationException e) {
      return false; // read-only folder, another file system, or the kernel's protected_hardlinks
    }
  }

  private static void copySiblings(Path from, Path to) throws IOException {
    try (DirectoryStream<Path> runtimes = Files.newDirectoryStream(from, "libcudart.so.*")) {
      for (Path runtime : runtimes) {
        Files.copy(runtime, to.resolve(runtime.getFileName()));
      }
    }
  }

  static void deleteFolder(Path folder) throws IOException {
    try (DirectoryStream<Path> files = Files.newDirectoryStream(folder)) {
      for (Path file : files) {
        Files.deleteIfExists(file);
      }
    }
    Files.deleteIfExists(folder);
  }
}
