/* Loaded before the C library: counts the calls of a process that change what lies under $SOAK_UNDER, and at call
   $SOAK_AT kills it, or with $SOAK_ERROR lets that call and all later ones fail with that error number, or with
   $SOAK_WAITS lets them wait for ever. With $SOAK_COUNT, a byte is written there for every call. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 65536
static atomic_char ours[FILES];
static atomic_long calls;

static int under(const char *path) {
  const char *root = getenv("SOAK_UNDER");
  return root && path && strncmp(path, root, strlen(root)) == 0;
}

static int is_ours(int file) { return file >= 0 && file < FILES && ours[file]; }

/* 0: go on; else the call fails with errno set. */
static int struck(void) {
  const char *at = getenv("SOAK_AT"), *error = getenv("SOAK_ERROR"), *count = getenv("SOAK_COUNT");
  long number = atomic_fetch_add(&calls, 1) + 1;
  if (count) {
    static int (*opened)(const char *, int, ...);
    static ssize_t (*written)(int, const void *, size_t);
    if (!opened) opened = dlsym(RTLD_NEXT, "open");
    if (!written) written = dlsym(RTLD_NEXT, "write");
    int file = opened(count, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (file >= 0) { if (written(file, ".", 1) < 0) {} close(file); }
  }
  if (!at || number < atol(at)) return 0;
  if (getenv("SOAK_WAITS")) { for (;;) pause(); }
  if (!error) { if (number == atol(at)) { kill(getpid(), SIGKILL); pause(); } return 0; }
  errno = atoi(error);
  return 1;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define OPENS(name)                                                                      \
  int name(const char *path, int flags, ...) {                                           \
    REAL(name); va_list rest; va_start(rest, flags); int mode = va_arg(rest, int); va_end(rest); \
    int changes = (flags & (O_WRONLY | O_RDWR | O_CREAT)) && under(path);                \
    if (changes && (flags & O_CREAT) && struck()) return -1;                             \
    int file = real(path, flags, mode);                                                  \
    if (file >= 0 && file < FILES) ours[file] = changes;                                 \
    return file; }
#define OPENS_AT(name)                                                                   \
  int name(int at, const char *path, int flags, ...) {                                   \
    REAL(name); va_list rest; va_start(rest, flags); int mode = va_arg(rest, int); va_end(rest); \
    int changes = (flags & (O_WRONLY | O_RDWR | O_CREAT)) && under(path);                \
    if (changes && (flags & O_CREAT) && struck()) return -1;                             \
    int file = real(at, path, flags, mode);                                              \
    if (file >= 0 && file < FILES) ours[file] = changes;                                 \
    return file; }
OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)

#define ON_PATH(name, parameters, path, arguments)                                       \
  int name parameters { REAL(name); if (under(path) && struck()) return -1; return real arguments; }
ON_PATH(mkdir, (const char *path, mode_t mode), path, (path, mode))
ON_PATH(mkdirat, (int at, const char *path, mode_t mode), path, (at, path, mode))
ON_PATH(rename, (const char *from, const char *to), to, (from, to))
ON_PATH(renameat, (int a, const char *from, int b, const char *to), to, (a, from, b, to))
ON_PATH(unlink, (const char *path), path, (path))
ON_PATH(rmdir, (const char *path), path, (path))

/* shutil.rmtree goes by descriptors of folders and bare names. */
int unlinkat(int at, const char *path, int flags) {
  REAL(unlinkat);
  char link[64], folder[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", at);
  ssize_t length = readlink(link, folder, sizeof folder - 1);
  folder[length > 0 ? length : 0] = 0;
  if ((under(path) || under(folder)) && struck()) return -1;
  return real(at, path, flags);
}

#define ON_FILE(type, name, parameters, arguments)                                       \
  type name parameters { REAL(name); if (is_ours(file) && struck()) return -1; return real arguments; }
ON_FILE(ssize_t, write, (int file, const void *data, size_t size), (file, data, size))
ON_FILE(ssize_t, pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size, at))
ON_FILE(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size, at))
ON_FILE(ssize_t, writev, (int file, const struct iovec *parts, int count), (file, parts, count))
ON_FILE(int, fsync, (int file), (file))
ON_FILE(int, fdatasync, (int file), (file))
ON_FILE(int, ftruncate, (int file, off_t size), (file, size))
ON_FILE(int, ftruncate64, (int file, off64_t size), (file, size))

/* A number that is used again may be of something else. */
int close(int file) {
  REAL(close);
  if (file >= 0 && file < FILES) ours[file] = 0;
  return real(file);
}
