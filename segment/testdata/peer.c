/*
 * A peer of segment.OpenBare[string](NAME, 4096, codec.UTF16(), ...) that does not use this library.
 *
 *     peer get NAME          print the string
 *     peer set NAME TEXT     replace it
 *     peer create NAME TEXT  create the mapping, print "ready", wait for a line or the end of standard input,
 *                            print the string again, and remove the mapping
 *
 * The mapping has 4096 bytes. The string begins at offset 0, is UTF-16LE, and ends with a NUL unit. Nothing keeps
 * a reader from seeing half of a new string and half of an old one.
 *
 *     cc -o peer peer.c -lrt     (newer C libraries do not need -lrt)
 */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIZE = 4096, UNITS = SIZE / 2 };

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint32_t unit_at(const unsigned char *p, size_t i) { return p[2 * i] | (uint32_t)p[2 * i + 1] << 8; }

/* print_string prints the string in the mapping as UTF-8. It never reads beyond the mapping, terminated or not. */
static void print_string(const unsigned char *shared)
{
    unsigned char p[SIZE];

    memcpy(p, shared, SIZE); /* a copy, which peers cannot change while it is decoded */
    for (size_t i = 0; i < UNITS && unit_at(p, i) != 0; i++) {
        uint32_t c = unit_at(p, i);
        if (c >= 0xD800 && c < 0xE000) {
            uint32_t low = i + 1 < UNITS ? unit_at(p, i + 1) : 0;
            if (c < 0xDC00 && low >= 0xDC00 && low < 0xE000) {
                c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
                i++;
            } else {
                c = 0xFFFD;
            }
        }
        if (c < 0x80) {
            putchar((int)c);
        } else if (c < 0x800) {
            printf("%c%c", (int)(0xC0 | c >> 6), (int)(0x80 | (c & 0x3F)));
        } else if (c < 0x10000) {
            printf("%c%c%c", (int)(0xE0 | c >> 12), (int)(0x80 | (c >> 6 & 0x3F)), (int)(0x80 | (c & 0x3F)));
        } else {
            printf("%c%c%c%c", (int)(0xF0 | c >> 18), (int)(0x80 | (c >> 12 & 0x3F)),
                   (int)(0x80 | (c >> 6 & 0x3F)), (int)(0x80 | (c & 0x3F)));
        }
    }
    putchar('\n');
}

/* next_char removes a character from a UTF-8 string. Each byte that is not valid UTF-8 becomes U+FFFD. */
static uint32_t next_char(const char **s)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)*s;
    int more = p[0] < 0x80 ? 0 : p[0] >= 0xC0 && p[0] < 0xE0 ? 1 : p[0] >= 0xE0 && p[0] < 0xF0 ? 2
             : p[0] >= 0xF0 && p[0] < 0xF8 ? 3 : -1;
    uint32_t c = more <= 0 ? p[0] : p[0] & (0x3Fu >> more);

    for (int i = 1; i <= more; i++) {
        if ((p[i] & 0xC0) != 0x80) { /* also the terminator */
            more = -1;
            break;
        }
        c = c << 6 | (p[i] & 0x3F);
    }
    if (more < 0 || c < least[more] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) {
        *s += 1;
        return 0xFFFD;
    }
    *s += more + 1;
    return c;
}

/* encode returns the content of a mapping that holds text. The bytes after the string are zero. */
static void encode(unsigned char p[SIZE], const char *text)
{
    size_t n = 0;

    memset(p, 0, SIZE);
    while (*text) {
        uint32_t c = next_char(&text), units[2] = {c, 0};
        size_t count = 1;
        if (c >= 0x10000) {
            units[0] = 0xD800 + ((c - 0x10000) >> 10);
            units[1] = 0xDC00 + ((c - 0x10000) & 0x3FF);
            count = 2;
        }
        if (n + count >= UNITS) {
            fprintf(stderr, "peer: the text has more than %d units\n", UNITS - 1);
            exit(1);
        }
        for (size_t i = 0; i < count; i++, n++) {
            p[2 * n] = units[i] & 0xFF;
            p[2 * n + 1] = units[i] >> 8 & 0xFF;
        }
    }
}

int main(int argc, char **argv)
{
    unsigned char text[SIZE];
    char path[256];
    struct stat st;

    int get = argc == 3 && strcmp(argv[1], "get") == 0;
    int set = argc == 4 && strcmp(argv[1], "set") == 0;
    int create = argc == 4 && strcmp(argv[1], "create") == 0;
    if (!get && !set && !create) {
        fprintf(stderr, "usage: peer get NAME | set NAME TEXT | create NAME TEXT\n");
        return 2;
    }
    if (snprintf(path, sizeof path, "/%s", argv[2]) >= (int)sizeof path) {
        fprintf(stderr, "peer: the name is too long\n");
        return 2;
    }
    if (!get)
        encode(text, argv[3]);
    int fd = shm_open(path, create ? O_RDWR | O_CREAT | O_EXCL : O_RDWR, 0600);
    if (fd < 0)
        fail(path);
    if (create && ftruncate(fd, SIZE) != 0)
        fail("ftruncate");
    if (fstat(fd, &st) != 0)
        fail("fstat");
    if (st.st_size < SIZE) {
        fprintf(stderr, "peer: the mapping is too short\n");
        return 1;
    }
    unsigned char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        fail("mmap");
    close(fd);

    if (get)
        print_string(p);
    else
        memcpy(p, text, SIZE);
    if (create) {
        puts("ready");
        fflush(stdout);
        for (int c = getchar(); c != EOF && c != '\n'; c = getchar())
            ;
        print_string(p);
        if (shm_unlink(path) != 0)
            fail("shm_unlink");
    }
    munmap(p, SIZE);
    return fflush(stdout) == 0 ? 0 : 1;
}
