/*
 * Records what a process does to the files of one folder, in one total order: preloaded (LD_PRELOAD), it stands before
 * the C library's calls that write, sync, cut, make, rename and remove files.
 *
 * RECORDER_FOLDER is the folder (absolute, resolved), RECORDER_LOG the file that the operations are appended to. An
 * operation is a struct operation in the machine's own byte order, and then `length` bytes: the data of a write, or the
 * names, relative to the folder, of what was opened, removed or synced; a rename has both, each ended by a NUL.
 * Files whose content need not survive are left out: SQLite's shared memory and the server's lock.
 *
 * One lock is held over each call and its record, so that the log's order is the order in which the kernel saw them.
 * A call that fails changes nothing and is not recorded.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { OPENED = 1, WRITTEN, SYNCED, CUT, REMOVED, RENAMED, FOLDER_SYNCED };
enum { CREATED = 1, EMPTIED = 2 };
enum { DESCRIPTORS = 65536 };

struct operation {
    uint32_t kind;
    uint32_t flags;
    uint64_t file;   /* the inode */
    uint64_t offset; /* of a write; the new size of a cut */
    uint64_t length; /* of what follows */
};

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static uint64_t inodes[DESCRIPTORS]; /* of the files that are recorded, by descriptor */
static char *folders[DESCRIPTORS];   /* the names of the folders that are open, by descriptor */
static const char *root;
static size_t root_length;
static int log_file = -1;

/* The next definition of a symbol behind this library. */
static void *next(const char *name) {
    void *symbol = dlsym(RTLD_NEXT, name);
    if (symbol == NULL) {
        fprintf(stderr, "recorder: the C library has no %s\n", name);
        abort();
    }
    return symbol;
}

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("RECORDER_LOG");
    root = getenv("RECORDER_FOLDER");
    if (name == NULL || root == NULL)
        return;
    root_length = strlen(root);
    log_file = (int)syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_file < 0) {
        perror("recorder: RECORDER_LOG");
        abort();
    }
}

static int ends_with(const char *name, const char *end) {
    size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

/* The name inside the folder ("" is the folder itself), or NULL where the path is none of what is recorded. */
static const char *inside(const char *path) {
    if (log_file < 0 || path == NULL || strncmp(path, root, root_length) != 0)
        return NULL;
    if (ends_with(path, "-shm") || ends_with(path, ".lock"))
        return NULL;
    if (path[root_length] == '\0')
        return "";
    return path[root_length] == '/' ? path + root_length + 1 : NULL;
}

static void record(enum kind kind, uint32_t flags, uint64_t file, uint64_t offset, const void *data, size_t length) {
    struct operation head = {kind, flags, file, offset, length};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)data, length}};
    if (syscall(SYS_writev, log_file, parts, 2) != (long)(sizeof head + length)) {
        perror("recorder: the log cannot be written");
        abort();
    }
}

static uint64_t recorded(int descriptor) {
    return log_file >= 0 && descriptor >= 0 && descriptor < DESCRIPTORS ? inodes[descriptor] : 0;
}

static void opened(int descriptor, const char *name, int flags, int existed) {
    struct stat status;
    if (descriptor >= DESCRIPTORS || fstat(descriptor, &status) != 0) {
        fprintf(stderr, "recorder: descriptor %d is out of reach\n", descriptor);
        abort();
    }
    if (S_ISDIR(status.st_mode)) {
        folders[descriptor] = strdup(name);
        return;
    }
    inodes[descriptor] = status.st_ino;
    uint32_t what = (existed ? 0 : CREATED) | (flags & O_TRUNC ? EMPTIED : 0);
    record(OPENED, what, status.st_ino, 0, name, strlen(name));
}

typedef int opening(int, const char *, int, ...);

static int open_at(const char *symbol, int folder, const char *path, int flags, mode_t mode) {
    const char *name = inside(path);
    opening *real = (opening *)next(symbol);
    if (name == NULL)
        return real(folder, path, flags, mode);
    pthread_mutex_lock(&order);
    int existed = faccessat(AT_FDCWD, path, F_OK, 0) == 0;
    int descriptor = real(folder, path, flags, mode);
    int failure = errno;
    if (descriptor >= 0)
        opened(descriptor, name, flags, existed);
    pthread_mutex_unlock(&order);
    errno = failure;
    return descriptor;
}

static mode_t mode_of(int flags, va_list arguments) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

#define OPEN(name, at)                                                                                                 \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list arguments;                                                                                             \
        va_start(arguments, flags);                                                                                    \
        mode_t mode = mode_of(flags, arguments);                                                                       \
        va_end(arguments);                                                                                             \
        return open_at(at, AT_FDCWD, path, flags, mode);                                                               \
    }
OPEN(open, "openat")
OPEN(open64, "openat64")

#define OPENAT(name)                                                                                                   \
    int name(int folder, const char *path, int flags, ...) {                                                           \
        va_list arguments;                                                                                             \
        va_start(arguments, flags);                                                                                    \
        mode_t mode = mode_of(flags, arguments);                                                                       \
        va_end(arguments);                                                                                             \
        return open_at(#name, folder, path, flags, mode);                                                              \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int descriptor) {
    int (*real)(int) = (int (*)(int))next("close");
    if (log_file < 0 || descriptor < 0 || descriptor >= DESCRIPTORS)
        return real(descriptor);
    pthread_mutex_lock(&order);
    inodes[descriptor] = 0;
    free(folders[descriptor]);
    folders[descriptor] = NULL;
    int result = real(descriptor);
    pthread_mutex_unlock(&order);
    return result;
}

ssize_t write(int descriptor, const void *data, size_t size) {
    ssize_t (*real)(int, const void *, size_t) = (ssize_t(*)(int, const void *, size_t))next("write");
    uint64_t file = recorded(descriptor);
    if (file == 0)
        return real(descriptor, data, size);
    pthread_mutex_lock(&order);
    ssize_t done = real(descriptor, data, size);
    int failure = errno;
    if (done > 0)
        record(WRITTEN, 0, file, (uint64_t)(lseek(descriptor, 0, SEEK_CUR) - done), data, (size_t)done);
    pthread_mutex_unlock(&order);
    errno = failure;
    return done;
}

#define PWRITE(name)                                                                                                   \
    ssize_t name(int descriptor, const void *data, size_t size, off_t offset) {                                        \
        ssize_t (*real)(int, const void *, size_t, off_t) = (ssize_t(*)(int, const void *, size_t, off_t))next(#name); \
        uint64_t file = recorded(descriptor);                                                                          \
        if (file == 0)                                                                                                 \
            return real(descriptor, data, size, offset);                                                               \
        pthread_mutex_lock(&order);                                                                                    \
        ssize_t done = real(descriptor, data, size, offset);                                                           \
        int failure = errno;                                                                                           \
        if (done > 0)                                                                                                  \
            record(WRITTEN, 0, file, (uint64_t)offset, data, (size_t)done);                                            \
        pthread_mutex_unlock(&order);                                                                                  \
        errno = failure;                                                                                               \
        return done;                                                                                                   \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

/* Both kinds of sync: what fdatasync leaves out is of no use for reading the data back. */
#define SYNC(name)                                                                                                     \
    int name(int descriptor) {                                                                                         \
        int (*real)(int) = (int (*)(int))next(#name);                                                                  \
        uint64_t file = recorded(descriptor);                                                                          \
        if (log_file < 0 || descriptor < 0 || descriptor >= DESCRIPTORS || (file == 0 && folders[descriptor] == NULL)) \
            return real(descriptor);                                                                                   \
        pthread_mutex_lock(&order);                                                                                    \
        int result = real(descriptor);                                                                                 \
        int failure = errno;                                                                                           \
        if (result == 0 && file != 0)                                                                                  \
            record(SYNCED, 0, file, 0, NULL, 0);                                                                       \
        else if (result == 0)                                                                                          \
            record(FOLDER_SYNCED, 0, 0, 0, folders[descriptor], strlen(folders[descriptor]));                          \
        pthread_mutex_unlock(&order);                                                                                  \
        errno = failure;                                                                                               \
        return result;                                                                                                 \
    }
SYNC(fsync)
SYNC(fdatasync)

#define FTRUNCATE(name)                                                                                                \
    int name(int descriptor, off_t size) {                                                                             \
        int (*real)(int, off_t) = (int (*)(int, off_t))next(#name);                                                    \
        uint64_t file = recorded(descriptor);                                                                          \
        if (file == 0)                                                                                                 \
            return real(descriptor, size);                                                                             \
        pthread_mutex_lock(&order);                                                                                    \
        int result = real(descriptor, size);                                                                           \
        int failure = errno;                                                                                           \
        if (result == 0)                                                                                               \
            record(CUT, 0, file, (uint64_t)size, NULL, 0);                                                             \
        pthread_mutex_unlock(&order);                                                                                  \
        errno = failure;                                                                                               \
        return result;                                                                                                 \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

int unlink(const char *path) {
    int (*real)(const char *) = (int (*)(const char *))next("unlink");
    const char *name = inside(path);
    if (name == NULL)
        return real(path);
    pthread_mutex_lock(&order);
    int result = real(path);
    int failure = errno;
    if (result == 0)
        record(REMOVED, 0, 0, 0, name, strlen(name));
    pthread_mutex_unlock(&order);
    errno = failure;
    return result;
}

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = (int (*)(const char *, const char *))next("rename");
    const char *old = inside(from), *new = inside(to);
    if (old == NULL || new == NULL)
        return real(from, to);
    char names[2 * 4096];
    pthread_mutex_lock(&order);
    int result = real(from, to);
    int failure = errno;
    if (result == 0) {
        int length = snprintf(names, sizeof names, "%s%c%s%c", old, '\0', new, '\0');
        record(RENAMED, 0, 0, 0, names, (size_t)length);
    }
    pthread_mutex_unlock(&order);
    errno = failure;
    return result;
}
