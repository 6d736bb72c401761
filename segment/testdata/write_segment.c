/*
 * Stores strings in a sharedseg segment with the codec string/utf-8. The segment must be open in a process, or
 * persist.
 *
 *     write_segment NAME     store each line of standard input, and print its version
 *
 * It is written from docs/format.md and needs only Linux and a C11 compiler. Its functions have the names of the
 * sections on that page.
 *
 *     cc -o write_segment write_segment.c
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { FORMAT = 2, TEXTS = 8512, MEMBERS = 1024, SLOT_HEADER = 64 };
enum { READY = 8, ORDER = 12, FLAGS = 20, KIND = 24, SLOTS = 28, SIZE = 32, CAPACITY = 40, STRIDE = 48,
       SLOT_AREA = 56, WAIT_PAGE = 64, PAGE = 72, CODEC_LEN = 76, TYPE_LEN = 80, NMEMBERS = 84, ROTOR = 96, MUTEX = 128,
       BEGIN = 192, END = 200, WAITS = 256, TAKE_OVERS = 264, MEMBER_TABLE = 320 };
#define REGISTRY ((off_t)1 << 62)
#define READERS (REGISTRY + 1)
#define MEMBER (REGISTRY + 2)
#define QUEUE (REGISTRY + ((off_t)1 << 32))
#define TICKETS ((off_t)1 << 61)
#define WAITERS 0x80000000u
#define INCONSISTENT 0x40000000u
#define IDENTITY 0x3FFFFFFFu

static const char *path;
static int fd;
static unsigned char *mem;
static uint32_t self, slots, persist;
static uint64_t capacity, stride, slot_area, wait_page, rows;

static void fail(const char *what)
{
    fprintf(stderr, "write_segment: %s: %s\n", path, what);
    exit(1);
}

static uint32_t u32(const unsigned char *head, int off) { uint32_t v; memcpy(&v, head + off, 4); return v; }
static uint64_t u64(const unsigned char *head, int off) { uint64_t v; memcpy(&v, head + off, 8); return v; }
static uint64_t up(uint64_t n, uint64_t m) { return (n + m - 1) / m * m; }
static _Atomic uint32_t *word(uint64_t off) { return (_Atomic uint32_t *)(mem + off); }
static _Atomic uint64_t *word64(uint64_t off) { return (_Atomic uint64_t *)(mem + off); }

static _Atomic uint64_t *row(uint32_t member)
{
    uint64_t at = 0;

    for (int bit = 0; bit < 10; bit++)
        at |= (uint64_t)(member >> bit & 1) << (9 - bit);
    return word64(rows + 8 * at);
}

static bool lock_byte(short type, off_t at)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &l) == 0;
}

/* Returns the position of one of n bytes that another handle has locked, or 0. */
static off_t first_locked(off_t at, off_t n)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = n};
    if (fcntl(fd, F_OFD_GETLK, &l) != 0)
        fail(strerror(errno));
    return l.l_type == F_UNLCK ? 0 : l.l_start;
}

static bool locked(off_t at, off_t n) { return first_locked(at, n) != 0; }

static void nap(long ns) { nanosleep(&(struct timespec){.tv_nsec = ns}, NULL); }

static void lock_registry(void)
{
    off_t ticket = 1, passed = 0, higher;
    int idle = 0;

    for (long pause = 10000; pause < 1000000; pause *= 2) {
        if (!locked(QUEUE, TICKETS) && lock_byte(F_WRLCK, REGISTRY))
            return;
        nap(pause);
    }
    while ((higher = first_locked(QUEUE + ticket, TICKETS - ticket)) != 0)
        ticket = higher - QUEUE + 1;
    lock_byte(F_RDLCK, QUEUE + ticket);
    for (int i = 0; ; i++) {
        if (passed + 1 == ticket || !locked(QUEUE + passed + 1, ticket - passed - 1)) {
            if (lock_byte(F_WRLCK, REGISTRY))
                break;
        } else if (locked(REGISTRY, 1)) {
            idle = 0;
        } else if (++idle == 20) {
            passed = ticket - 1;
        }
        if (i == 5000)
            fail("another process has been opening or closing the segment for too long");
        nap(1000000);
    }
    lock_byte(F_UNLCK, QUEUE + ticket);
}

static bool is_current(void)
{
    struct stat mine, now;
    return fstat(fd, &mine) == 0 && lstat(path, &now) == 0 && mine.st_dev == now.st_dev && mine.st_ino == now.st_ino;
}

static void check(void)
{
    static const char codec[] = "string/utf-8";
    unsigned char head[TEXTS + sizeof codec];
    struct stat st;

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        fail("not a regular file");
    if (pread(fd, head, sizeof head, 0) != sizeof head || memcmp(head, "sharedsg", 8) != 0 || u32(head, READY) == 0)
        fail("not an initialised segment");
    persist = u32(head, FLAGS) & 1;
    if (!persist && !locked(READERS, 1 + MEMBERS))
        fail("left by processes that died");
    if (u32(head, READY) != FORMAT || u32(head, ORDER) != 0x0A0B0C0D || u32(head, KIND) != 1)
        fail("another format, byte order or kind");
    uint64_t page = u32(head, PAGE), codec_len = u32(head, CODEC_LEN), type_len = u32(head, TYPE_LEN);
    slots = u32(head, SLOTS);
    capacity = u64(head, CAPACITY);
    stride = u64(head, STRIDE);
    slot_area = u64(head, SLOT_AREA);
    wait_page = u64(head, WAIT_PAGE);
    rows = wait_page + page;
    if (u32(head, NMEMBERS) != MEMBERS || codec_len > 1 << 20 || type_len > 1 << 20 || slots < 2 || slots > 65536 ||
        page < 1 << 10 || page > 1 << 24 || (page & (page - 1)) != 0 || capacity > (uint64_t)1 << 40 ||
        wait_page != up(TEXTS + codec_len + type_len, page) || slot_area != wait_page + page + (slots <= 64 ? up(8 * MEMBERS, page) : 0) ||
        stride != SLOT_HEADER + up(capacity, 64) || u64(head, SIZE) != up(slot_area + slots * stride, page) ||
        u64(head, SIZE) != (uint64_t)st.st_size)
        fail("the header is corrupt");
    if (codec_len != strlen(codec) || memcmp(head + TEXTS, codec, codec_len) != 0)
        fail("another codec");
    mem = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mem == MAP_FAILED)
        fail(strerror(errno));
}

static uint32_t next(uint32_t generation) { return (generation + 1) & 0xFFFFF ? (generation + 1) & 0xFFFFF : 1; }

static void claim_member(void)
{
    uint32_t first = atomic_load(word(ROTOR));

    for (uint32_t i = 0; i < MEMBERS; i++) {
        uint32_t s = (first + i) % MEMBERS;
        if (!lock_byte(F_WRLCK, MEMBER + s))
            continue;
        if (slots <= 64)
            atomic_store(row(s), 0); /* the slots that the last holder had borrowed */
        uint32_t g = next(atomic_load(word(MEMBER_TABLE + 8 * s)));
        if ((atomic_load(word(MUTEX)) & IDENTITY) == (g << 10 | s))
            g = next(g);
        atomic_store(word(MEMBER_TABLE + 8 * s), g);
        atomic_store(word(MEMBER_TABLE + 8 * s + 4), (uint32_t)getpid());
        atomic_store(word(ROTOR), (s + 1) % MEMBERS);
        self = g << 10 | s;
        return;
    }
    fail("too many writers");
}

static void open_for_writing(void)
{
    for (;;) {
        fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
            fail(strerror(errno));
        lock_registry();
        if (is_current())
            break;
        close(fd);
    }
    check();
    claim_member();
    lock_byte(F_UNLCK, REGISTRY);
}

static void close_segment(void)
{
    lock_registry();
    lock_byte(F_UNLCK, MEMBER + (self & (MEMBERS - 1)));
    if (!persist && !locked(READERS, 1 + MEMBERS) && is_current())
        unlink(path);
    close(fd);
}

static bool alive(uint32_t owner)
{
    _Atomic uint32_t *generation = word(MEMBER_TABLE + 8 * (owner & (MEMBERS - 1)));
    uint32_t g = owner >> 10 & 0xFFFFF;

    return owner == self ||
           (atomic_load(generation) == g && locked(MEMBER + (owner & (MEMBERS - 1)), 1) && atomic_load(generation) == g);
}

static void lock_mutex(void)
{
    _Atomic uint32_t *m = word(MUTEX);
    uint32_t flags = 0, w = 0;

    if (atomic_compare_exchange_strong(m, &w, self))
        goto taken;
    for (;;) {
        w = atomic_load(m);
        uint32_t n = self | flags | (w & WAITERS);
        bool dead = (w & IDENTITY) != 0 && !alive(w & IDENTITY);
        if ((w & IDENTITY) == 0 || dead) {
            if ((w & ~WAITERS) != 0)
                n |= INCONSISTENT;
            if (!atomic_compare_exchange_strong(m, &w, n))
                continue;
            if (dead)
                atomic_fetch_add(word64(TAKE_OVERS), 1);
            goto taken;
        }
        if ((w & WAITERS) == 0) {
            if (!atomic_compare_exchange_strong(m, &w, w | WAITERS))
                continue;
            w |= WAITERS;
        }
        if (flags == 0)
            atomic_fetch_add(word64(WAITS), 1);
        syscall(SYS_futex, m, FUTEX_WAIT, w, &(struct timespec){.tv_nsec = 2000000}, NULL, 0);
        flags = WAITERS;
    }
taken:
    atomic_fetch_and(m, ~INCONSISTENT); /* a segment has nothing to repair */
}

static void unlock_mutex(void)
{
    uint32_t w = atomic_load(word(MUTEX));

    do {
        if ((w & IDENTITY) != self)
            fail("a peer changed the lock");
    } while (!atomic_compare_exchange_weak(word(MUTEX), &w, w & INCONSISTENT));
    if (w & WAITERS)
        syscall(SYS_futex, word(MUTEX), FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Returns the slots that live members have borrowed. */
static uint64_t borrowed(void)
{
    uint64_t used, mask = 0;

    for (int i = 0; i < MEMBERS / 64; i++)
        for (used = atomic_load(word64(wait_page + 776 + 8 * i)); used != 0; used &= used - 1) {
            uint32_t m = 64 * i + __builtin_ctzll(used);
            uint64_t slots = atomic_load(row(m));
            if ((slots & ~mask) != 0 && locked(MEMBER + m, 1))
                mask |= slots;
        }
    return mask;
}

static uint64_t publish(const char *text, uint64_t n)
{
    uint64_t end, begin, v, taken, slot;

    for (;; nap(1000000)) { /* again while all other slots are borrowed */
        lock_mutex();
        end = atomic_load(word64(END));
        begin = atomic_load(word64(BEGIN));
        v = begin > end ? begin : end + 1;
        if (slots > 64)
            break;
        taken = borrowed() | (uint64_t)1 << end % slots;
        if (~taken << (64 - slots) != 0)
            break;
        unlock_mutex();
    }
    if (slots <= 64)
        while (taken >> v % slots & 1)
            v++;
    if (begin > end && v != begin) /* a writer died while it filled the slot, or gave up */
        atomic_store_explicit(word64(slot_area + begin % slots * stride), 0, memory_order_relaxed);
    slot = slot_area + v % slots * stride;
    atomic_store_explicit(word64(slot), 0, memory_order_relaxed);
    atomic_store_explicit(word64(BEGIN), v, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst); /* orders also the non-temporal stores of a memcpy */
    memcpy(mem + slot + SLOT_HEADER, text, n);
    atomic_store_explicit(word64(slot + 16), n, memory_order_relaxed);
    atomic_store_explicit(word64(slot + 8), end, memory_order_relaxed);
    atomic_store_explicit(word64(slot), v, memory_order_release);
    bool armed = atomic_load(word(wait_page)) != 0 && atomic_exchange(word(wait_page), 0) != 0;
    atomic_store_explicit(word64(END), v, memory_order_release);
    unlock_mutex();
    atomic_thread_fence(memory_order_seq_cst);
    if (armed || atomic_load(word(wait_page)) != 0) {
        uint16_t probe = 1;
        int low = *(unsigned char *)&probe ? 0 : 4;
        syscall(SYS_futex, word(END + low), FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
    }
    return v;
}

int main(int argc, char **argv)
{
    char *line = NULL, file[256];
    size_t room = 0;
    ssize_t n;

    if (argc != 2 || strlen(argv[1]) > 200 || strchr(argv[1], '/') || argv[1][0] == '.') {
        fprintf(stderr, "usage: write_segment NAME\n");
        return 2;
    }
    snprintf(file, sizeof file, "/dev/shm/%s", argv[1]);
    path = file;
    open_for_writing();
    puts("ready");
    fflush(stdout);
    while ((n = getline(&line, &room, stdin)) > 0) {
        if (line[n - 1] == '\n')
            n--;
        if ((uint64_t)n > capacity)
            fail("a line is longer than the capacity");
        printf("%llu\n", (unsigned long long)publish(line, n));
        fflush(stdout);
    }
    close_segment();
    free(line);
    return 0;
}
