/*
 * Storage faults for a process that is started with LD_PRELOAD: the Nth open, write, fsync or ftruncate of a database's
 * files fails, once or from then on, and a disk can be full.
 *
 * FAULTS_DATABASE names the database; its -wal, -shm, -journal, -reserve and .lock are watched too, and its folder.
 * FAULTS_CONTROL names a file of FAULTS_SIZE bytes that the test maps as well: what is to fail stands there, what was
 * called is counted there, and every call is traced there, in order.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN, WRITE, SYNC, TRUNCATE, KINDS, LISTEN = KINDS };
enum { DATABASE = 1, LOG, INDEX, JOURNAL, LOCK, RESERVE, FOLDER, FILES };

#define TRACED (1 << 16)
#define DESCRIPTORS 4096

/* The layout is that of FaultControl in tests/reliability/faulting.py. */
struct control {
    uint64_t kind;       /* which calls fail: one of the four above, or KINDS for none */
    uint64_t nth;        /* the first that fails, counted from when the counts were last set to 0 */
    uint64_t error;      /* its errno */
    uint64_t lasts;      /* all calls of the kind from the nth on fail, not only that one */
    uint64_t files;      /* bits of the files (1 << file) of which calls count and fail */
    uint64_t full;       /* the disk is full: files can be overwritten, and grow by what others have given back */
    uint64_t injected;   /* how many calls have failed */
    uint64_t failed_file;/* of which file the last one was */
    uint64_t counts[KINDS];
    int64_t room;        /* bytes that have been given back since the disk is full */
    uint64_t traced;     /* how many calls have been traced; each takes one byte: kind << 4 | file */
    uint8_t trace[TRACED];
};

static struct control *control;
static char database[PATH_MAX];
static char folder[PATH_MAX];
static uint8_t watched[DESCRIPTORS]; /* by descriptor: which file, 0 for none */

#define REAL(result, name, ...)                                                                                        \
    static result (*real_##name)(__VA_ARGS__);                                                                         \
    if (!real_##name)                                                                                                  \
    real_##name = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULTS_CONTROL"), *name = getenv("FAULTS_DATABASE");
    if (!path || !name || strlen(name) >= sizeof database)
        return;
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0)
        return;
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (mapped == MAP_FAILED)
        return;
    strcpy(database, name);
    strcpy(folder, name);
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = 0;
    control = mapped;
}

static int file_of(const char *path)
{
    static const struct { const char *suffix; int file; } names[] = {
        {"", DATABASE}, {"-wal", LOG}, {"-shm", INDEX}, {"-journal", JOURNAL}, {".lock", LOCK}, {"-reserve", RESERVE},
    };
    size_t length = strlen(database);
    if (!control || !path)
        return 0;
    if (!strcmp(path, folder))
        return FOLDER;
    if (strncmp(path, database, length))
        return 0;
    for (size_t n = 0; n < sizeof names / sizeof *names; n++)
        if (!strcmp(path + length, names[n].suffix))
            return names[n].file;
    return 0;
}

static int file_behind(int descriptor)
{
    return control && descriptor >= 0 && descriptor < DESCRIPTORS ? watched[descriptor] : 0;
}

static void trace(int kind, int file)
{
    uint64_t place = __atomic_fetch_add(&control->traced, 1, __ATOMIC_SEQ_CST);
    if (place < TRACED)
        control->trace[place] = (uint8_t)(kind << 4 | file);
}

/* Whether there is room for so many bytes more; they are taken then, or given back where there are less than none. */
static int fits(int64_t more)
{
    if (!control->full)
        return 1;
    if (more > 0 && __atomic_load_n(&control->room, __ATOMIC_SEQ_CST) < more)
        return 0;
    __atomic_sub_fetch(&control->room, more, __ATOMIC_SEQ_CST);
    return 1;
}

/* Count a call, and say whether it is to fail; errno is set then. ``more``: the bytes that it needs on the disk. */
static int fails(int kind, int file, int64_t more)
{
    if (!file)
        return 0;
    trace(kind, file);
    int counted = (control->files >> file) & 1;
    uint64_t count = counted ? __atomic_add_fetch(&control->counts[kind], 1, __ATOMIC_SEQ_CST) : 0;
    int chosen = counted && control->kind == (uint64_t)kind &&
                 (control->lasts ? count >= control->nth : count == control->nth);
    if (!chosen && fits(more))
        return 0;
    __atomic_add_fetch(&control->injected, 1, __ATOMIC_SEQ_CST);
    control->failed_file = (uint64_t)file;
    errno = chosen ? (int)control->error : ENOSPC;
    return 1;
}

static int opened(int descriptor, int file)
{
    if (descriptor >= 0 && descriptor < DESCRIPTORS)
        watched[descriptor] = (uint8_t)file;
    return descriptor;
}

/* The room that a new file needs before anything is written to it. */
static int64_t made(const char *path, int flags)
{
    return (flags & O_CREAT) && access(path, F_OK) ? 4096 : 0;
}

#define DEFINE_OPEN(name)                                                                                              \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        REAL(int, name, const char *, int, ...);                                                                       \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                        \
        va_end(rest);                                                                                                  \
        int file = file_of(path);                                                                                      \
        if (fails(OPEN, file, file ? made(path, flags) : 0))                                                           \
            return -1;                                                                                                 \
        return opened(real_##name(path, flags, mode), file);                                                           \
    }

DEFINE_OPEN(open)
DEFINE_OPEN(open64)

#define DEFINE_OPENAT(name)                                                                                            \
    int name(int at, const char *path, int flags, ...)                                                                 \
    {                                                                                                                  \
        REAL(int, name, int, const char *, int, ...);                                                                  \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                        \
        va_end(rest);                                                                                                  \
        int file = file_of(path);                                                                                      \
        if (fails(OPEN, file, file ? made(path, flags) : 0))                                                           \
            return -1;                                                                                                 \
        return opened(real_##name(at, path, flags, mode), file);                                                       \
    }

DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)

int close(int descriptor)
{
    REAL(int, close, int);
    if (descriptor >= 0 && descriptor < DESCRIPTORS)
        watched[descriptor] = 0;
    return real_close(descriptor);
}

/* By how much a file that ends here is longer than it is. */
static int64_t growth(int descriptor, int file, off64_t end)
{
    struct stat64 found;
    return file && !fstat64(descriptor, &found) ? (int64_t)end - found.st_size : 0;
}

/* By how much a write that ends here makes the file longer. */
static int64_t grows(int descriptor, int file, off64_t end)
{
    int64_t more = growth(descriptor, file, end);
    return more > 0 ? more : 0;
}

#define DEFINE_PWRITE(name, offset_type)                                                                               \
    ssize_t name(int descriptor, const void *data, size_t size, offset_type offset)                                    \
    {                                                                                                                  \
        REAL(ssize_t, name, int, const void *, size_t, offset_type);                                                   \
        int file = file_behind(descriptor);                                                                            \
        if (fails(WRITE, file, grows(descriptor, file, (off64_t)offset + (off64_t)size)))                              \
            return -1;                                                                                                 \
        return real_##name(descriptor, data, size, offset);                                                            \
    }

DEFINE_PWRITE(pwrite, off_t)
DEFINE_PWRITE(pwrite64, off64_t)

ssize_t write(int descriptor, const void *data, size_t size)
{
    REAL(ssize_t, write, int, const void *, size_t);
    int file = file_behind(descriptor);
    off64_t offset = file ? lseek64(descriptor, 0, SEEK_CUR) : 0;
    if (fails(WRITE, file, grows(descriptor, file, offset + (off64_t)size)))
        return -1;
    return real_write(descriptor, data, size);
}

#define DEFINE_SYNC(name)                                                                                              \
    int name(int descriptor)                                                                                           \
    {                                                                                                                  \
        REAL(int, name, int);                                                                                          \
        return fails(SYNC, file_behind(descriptor), 0) ? -1 : real_##name(descriptor);                                 \
    }

DEFINE_SYNC(fsync)
DEFINE_SYNC(fdatasync)

#define DEFINE_TRUNCATE(name, offset_type)                                                                             \
    int name(int descriptor, offset_type size)                                                                         \
    {                                                                                                                  \
        REAL(int, name, int, offset_type);                                                                             \
        int file = file_behind(descriptor);                                                                            \
        return fails(TRUNCATE, file, growth(descriptor, file, size)) ? -1 : real_##name(descriptor, size);             \
    }

DEFINE_TRUNCATE(ftruncate, off_t)
DEFINE_TRUNCATE(ftruncate64, off64_t)

/* Answers with the error instead of setting errno, and counts as a write. */
#define DEFINE_ALLOCATE(name, offset_type)                                                                             \
    int name(int descriptor, offset_type offset, offset_type size)                                                     \
    {                                                                                                                  \
        REAL(int, name, int, offset_type, offset_type);                                                                \
        int file = file_behind(descriptor);                                                                            \
        if (fails(WRITE, file, grows(descriptor, file, (off64_t)offset + (off64_t)size)))                              \
            return errno;                                                                                              \
        return real_##name(descriptor, offset, size);                                                                  \
    }

DEFINE_ALLOCATE(posix_fallocate, off_t)
DEFINE_ALLOCATE(posix_fallocate64, off64_t)

/* Only traced: the moment from which a server is there for its clients. */
int listen(int socket, int backlog)
{
    REAL(int, listen, int, int);
    if (control)
        trace(LISTEN, 0);
    return real_listen(socket, backlog);
}
