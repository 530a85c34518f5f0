/* The time of day of one process, off by what a file says: loaded before the C library.

   The file that GATE_CLOCK names holds nanoseconds, one 64-bit integer, and is mapped: whoever
   writes it lets the clock jump at once. Only what tells the time of day is off; clocks that count
   how long things take, sleeps and timeouts are the C library's own. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000LL

static const volatile int64_t *off_ns;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("GATE_CLOCK");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    void *page = mmap(NULL, sizeof *off_ns, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED)
        off_ns = page;
    close(file);
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    static int (*right)(clockid_t, struct timespec *);
    if (right == NULL)
        right = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = right(id, now);
    if (failed || off_ns == NULL || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE))
        return failed;
    int64_t ns = now->tv_sec * NS_PER_S + now->tv_nsec + *off_ns;
    now->tv_sec = ns / NS_PER_S;
    now->tv_nsec = ns % NS_PER_S;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec at;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &at))
        return -1;
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *also)
{
    struct timespec at;
    if (clock_gettime(CLOCK_REALTIME, &at))
        return (time_t)-1;
    if (also != NULL)
        *also = at.tv_sec;
    return at.tv_sec;
}

int timespec_get(struct timespec *now, int base)
{
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, now) == 0 ? base : 0;
}
