/* Preloaded into a process, makes the moment long in which DuckDB 2.0.0 has read a file's root
   pointers and not locked the file yet: says so by making the file ATM_LATE, then waits until it is
   deleted, before the first lock that fcntl takes of a file whose name ends in ".duckdb". */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_database(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, path, sizeof path - 1);
    return size > 7 && memcmp(path + size - 7, ".duckdb", 7) == 0;
}

static void wait_before_lock(int descriptor, int command) {
    static int done = 0;
    const char *late = getenv("ATM_LATE");
    struct stat found;
    if (done || !late || (command != F_SETLK && command != F_SETLKW) || !is_database(descriptor))
        return;
    done = 1;
    close(creat(late, 0600));
    for (int tries = 0; tries < 6000 && stat(late, &found) == 0; tries++)
        usleep(10000);
}

#define SHIM(name)                                                         \
    int name(int descriptor, int command, ...) {                           \
        static int (*real)(int, int, ...);                                 \
        va_list arguments;                                                 \
        va_start(arguments, command);                                      \
        void *argument = va_arg(arguments, void *);                        \
        va_end(arguments);                                                 \
        if (!real)                                                         \
            real = (int (*)(int, int, ...))dlsym(RTLD_NEXT, #name);        \
        wait_before_lock(descriptor, command);                             \
        return real(descriptor, command, argument);                        \
    }

SHIM(fcntl)
SHIM(fcntl64)
