// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A guest's kernel that means harm to the adapter, and with that to QEMU: registers, doorbells, configuration space,
 * the MSI-X table, rings, page tables and commands by chance, with addresses in memory, in the adapter's own BARs and in
 * its own configuration space (MMCFG), with function-level resets, RESET, a bus master bit and vectors that come and go.
 *
 * Usage: hostile_driver BDF ARENA BYTES MMCFG SEED SECONDS
 * ARENA: bus address of BYTES of memory that nobody else has (memmap=), at least 16 MiB; MMCFG: where the configuration spaces
 * lie, 0 for nowhere.  As root, without a driver.  The adapter is left reset.
 *
 * The adapter writes only where it is told to: everything that it may be told is in the arena, in the adapter itself or
 * nowhere, so that the guest lives on.
 */
#include "chance.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
    PAGE = 4096,
    REGISTERS = 0x100000, /* of BAR 0 that do something */
    VECTORS = 0x2000,     /* BAR 2 */
    WINDOW = 8 << 20,     /* rings and buffers begin below; what is behind catches what runs on */
    ENTRIES = 64,         /* of the command and event rings */
    CODES = 24,
};

static volatile uint8_t *bar0, *bar2;
static uint8_t *arena;
static int config;
static uint64_t arena_bus, bar0_bus, bar2_bus, mmcfg;
static off_t express, msix;
static unsigned long actions, answers, good;

static void end(const char *format, ...) {
    va_list list;
    va_start(list, format);
    printf("FAIL ");
    vprintf(format, list);
    printf(": %s\n", strerror(errno));
    va_end(list);
    exit(1);
}

/* ---- chance ---- */

static uint64_t edge(void) {
    static const uint64_t edges[] = {0,          1,          2,          7,          8,          31,
                                     32,         4095,       4096,       65535,      65536,      0x7fffffff,
                                     0x80000000, 0xffffffff, 1ull << 32, 1ull << 63, UINT64_MAX, UINT64_MAX - 4095};
    if (one_in(3)) /* no address of the guest's memory above 1 MiB, wherever it ends up */
        return one_in(2) ? below(1 << 20) : any() | 1ull << 45;
    return edges[below(sizeof(edges) / sizeof(edges[0]))];
}

static uint64_t in_arena(void) {
    return arena_bus + (uint64_t)below(WINDOW / PAGE) * PAGE + (one_in(4) ? below(PAGE) & ~7u : 0) +
           (one_in(16) ? below(8) : 0);
}

/* A bus address that does the guest no harm when it is written to. */
static uint64_t address(void) {
    switch (below(12)) {
    case 0: /* not where the addresses of rings are */
        return bar0_bus + (one_in(2) ? 0x1000 + (below(REGISTERS - 0x1000) & ~7u) : 0x100 + (below(0x300) & ~7u));
    case 1:
        return bar2_bus + (below(VECTORS) & ~3u);
    case 2:
        return mmcfg ? mmcfg + (below(PAGE) & ~3u) : in_arena();
    case 3: /* nothing is there, however far it runs on */
        return (0x7ull << 40) + (any() & 0xffffffff);
    case 4:
        return UINT64_MAX - below(2 * PAGE);
    default:
        return in_arena();
    }
}

/* ---- the adapter's parts ---- */

static void store(uint32_t offset, uint64_t value, unsigned int size) {
    volatile uint8_t *at = bar0 + offset;
    switch (size) {
    case 1:
        *at = (uint8_t)value;
        break;
    case 2:
        *(volatile uint16_t *)at = (uint16_t)value;
        break;
    case 4:
        *(volatile uint32_t *)at = (uint32_t)value;
        break;
    default:
        *(volatile uint64_t *)at = value;
        break;
    }
}

static uint32_t config_read(off_t offset, unsigned int size) {
    uint32_t value = 0;
    if (pread(config, &value, size, offset) != (ssize_t)size)
        end("configuration space at %#lx", (long)offset);
    return value;
}
static void config_write(off_t offset, uint32_t value, unsigned int size) {
    if (pwrite(config, &value, size, offset) != (ssize_t)size)
        end("configuration space at %#lx", (long)offset);
}
static off_t capability(uint8_t wanted) {
    for (off_t at = config_read(0x34, 1); at; at = config_read(at + 1, 1))
        if (config_read(at, 1) == wanted)
            return at;
    end("capability %#x is not there", wanted);
    return 0;
}
static void enable(bool master, bool memory) { config_write(4, (master ? 4 : 0) | (memory ? 2 : 0), 2); }
/* A reset takes the BARs' addresses away. */
static void place(void) {
    enable(false, false);
    config_write(0x10, (uint32_t)bar0_bus, 4);
    config_write(0x14, bar0_bus >> 32, 4);
    config_write(0x18, (uint32_t)bar2_bus, 4);
    config_write(0x1c, bar2_bus >> 32, 4);
    enable(true, true);
}
static void function_reset(void) {
    config_write(express + 8, config_read(express + 8, 2) | 0x8000, 2);
    if (!one_in(8))
        place();
}

static void vector(unsigned int number) {
    volatile uint32_t *entry = (volatile uint32_t *)(bar2 + 16 * number);
    uint64_t to = address();
    uint32_t data = one_in(2) ? (uint32_t)edge() : 1 + below(2);
    if (mmcfg && one_in(4)) { /* a function-level reset, the command register, MSI-X control, a BAR */
        static const uint32_t sources[] = {4, 0x10, 0x14, 0x18, 0x1c};
        to = mmcfg + (one_in(2) ? (uint64_t)express + 8 : one_in(3) ? (uint64_t)msix : sources[below(5)]);
        data = one_in(2) ? 0x8000 | (uint32_t)(any() & 0x7fff) : (uint32_t)edge();
        if (to >= mmcfg + 0x10 && to < mmcfg + 0x20) /* BARs stay where they do no harm */
            data = (uint32_t)(to & 4 ? bar0_bus >> 32 : bar0_bus + ((uint64_t)below(2) << 24));
    } else if (one_in(4)) { /* DEV_CTRL and doorbells */
        static const uint32_t registers[] = {0x10, 0x200, 0x300, 0x50, 0x100, 0x108, 0x5f000, 0x61000, 0x79008};
        to = bar0_bus + registers[below(9)];
    }
    entry[0] = (uint32_t)to;
    entry[1] = (uint32_t)(to >> 32);
    entry[2] = data;
    entry[3] = one_in(4);
}

/* ---- what a driver has ---- */

struct ring {
    uint64_t bus;
    uint8_t *at; /* NULL: it is not in the arena */
    uint32_t depth, pi;
};

static struct ring command_sq, command_cq, sq[3], rq[3];
static uint32_t command_ci;
static uint64_t next_page;

static uint8_t *memory_of(uint64_t bus) {
    return bus >= arena_bus && bus < arena_bus + WINDOW ? arena + (bus - arena_bus) : NULL;
}
static uint64_t pages(uint32_t count) {
    uint64_t at = next_page;
    next_page = (next_page + (uint64_t)count * PAGE) % WINDOW;
    memset(arena + at, 0, (size_t)count * PAGE);
    return arena_bus + at;
}
static struct ring ring(uint32_t depth, uint32_t bytes, uint32_t odd) {
    struct ring new = {.depth = depth,
                       .bus = odd && one_in(odd) ? address() : pages((depth * bytes + PAGE - 1) / PAGE)};
    new.at = memory_of(new.bus);
    return new;
}
static void put(const struct ring *to, uint32_t index, const void *from, uint32_t bytes) {
    if (to->at)
        memcpy(to->at + (size_t)(index % to->depth) * bytes, from, bytes);
}

struct command {
    union {
        uint8_t bytes[128];
        uint64_t longs[16];
    };
};
static void set32(struct command *c, unsigned int at, uint32_t value) { memcpy(c->bytes + at, &value, 4); }
static void set64(struct command *c, unsigned int at, uint64_t value) { memcpy(c->bytes + at, &value, 8); }

static void stage(unsigned int sub, unsigned int opcode, struct command c) {
    c.longs[0] = 3ull << 52 | (uint64_t)sub << 24 | (uint64_t)opcode << 16 | ((command_sq.pi + 4) & 0xffff);
    for (unsigned int block = 0; block < 4; block++)
        put(&command_sq, command_sq.pi + block, c.bytes + 32 * block, 32);
    command_sq.pi += 4;
}
static void ring_commands(void) {
    store(0x200, command_sq.pi & 0xffff, 8);
    for (unsigned int i = 0; command_cq.at && i < ENTRIES; i++) {
        uint32_t header;
        memcpy(&header, command_cq.at + (size_t)(command_ci % ENTRIES) * 32, 4);
        header = be32toh(header);
        if ((header >> 31 != 0) != ((command_ci & ENTRIES) == 0))
            break;
        command_ci++;
        answers++;
        good += (header & 0xff) == 0;
    }
}
static void command(unsigned int sub, unsigned int opcode, struct command c) {
    stage(sub, opcode, c);
    ring_commands();
}

static void create_eq(uint32_t number, uint64_t at, uint32_t depth_log) {
    struct command c = {{{0}}};
    set64(&c, 8, at);
    set32(&c, 16, 1u << 24 | depth_log << 16 | number << 8 | number);
    command(1, 0, c);
}
static void create_cq(uint32_t number, uint64_t at, uint32_t depth_log, uint32_t eqn) {
    struct command c = {{{0}}};
    set32(&c, 8, depth_log << 24 | 13u << 20 | number);
    set64(&c, 12, at);
    set32(&c, 20, 1u << 16 | eqn);
    set64(&c, 24, in_arena() & ~7ull);
    command(0, 4, c);
}
static void create_qp(uint32_t number, uint32_t cqn, uint32_t sq_log, uint32_t rq_log) {
    struct command c = {{{0}}};
    sq[number] = ring(1u << sq_log, 32, 16);
    rq[number] = ring(1u << rq_log, 32, 16);
    set32(&c, 8, sq_log << 20 | number);
    set32(&c, 12, rq_log << 20 | 1);
    set32(&c, 16, 8u << 28 | cqn);
    set32(&c, 20, 8u << 28 | cqn);
    set64(&c, 24, sq[number].bus);
    set64(&c, 32, rq[number].bus);
    set32(&c, 40, 2);
    set32(&c, 44, 2);
    set64(&c, 48, in_arena() & ~7ull);
    set64(&c, 56, in_arena() & ~7ull);
    command(0, 1, c);
}
static void connect_qp(uint32_t number) {
    struct command c = {{{0}}};
    uint32_t peer = 3 - number;
    set32(&c, 8, 2u << 24 | 1u << 20 | number);
    set32(&c, 12, peer);
    set32(&c, 16, htobe32(0x0a000000 + peer));
    set32(&c, 20, htobe32(0x0a000000 + number));
    set32(&c, 24, htobe16(1000 + number) | (uint32_t)htobe16(1000 + peer) << 16);
    set32(&c, 28, 77 * number);
    set32(&c, 32, 77 * peer);
    command(0, 3, c);
}
/* Pages anywhere that is safe, mostly in the arena; with a table of level 1 or listed in the command. */
static void register_mr(uint32_t index, uint32_t count, bool table) {
    struct command c = {{{0}}};
    uint64_t list = table ? pages(1) : 0, *entries = (uint64_t *)memory_of(list);
    set32(&c, 8, 1u << 31 | index);
    set32(&c, 12, 1u << 12 | 0x3e);
    set64(&c, 16, 0x10000000);
    set32(&c, 24, count * PAGE);
    set32(&c, 28, 12u << 27 | (table ? 1u << 20 : 0) | count);
    set64(&c, 32, list);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t page = (one_in(8) ? address() : in_arena()) & ~(uint64_t)(PAGE - 1);
        if (table && entries)
            entries[i] = page;
        else if (i < 4)
            set64(&c, 32 + 8 * i, page);
    }
    command(0, 8, c);
}

/* Nearly as a driver does it. */
static void bring_up(void) {
    next_page = below(64) * (uint64_t)PAGE;
    place();
    store(0x10, 1, 4);
    command_ci = 0;
    command_sq = ring(ENTRIES, 32, 32);
    command_cq = ring(ENTRIES, 32, 32);
    struct ring events = ring(ENTRIES, 16, 16), asynchronous = ring(ENTRIES, 16, 16);
    const uint64_t bases[] = {command_sq.bus, command_cq.bus, events.bus, asynchronous.bus};
    static const uint32_t low[] = {0x20, 0x28, 0x38, 0x40};
    for (unsigned int i = 0; i < 4; i++) {
        store(low[i] + 4, bases[i] >> 32, 4);
        store(low[i], (uint32_t)bases[i], 4);
        store(0x60 + 8 * i, one_in(8) ? address() : in_arena() & ~7ull, 8);
    }
    store(0x30, ENTRIES, 4);
    store(0x34, ENTRIES, 4);
    store(0x48, ENTRIES, 4);
    config_write(msix + 2, (config_read(msix + 2, 2) & 0x3fff) | 0x8000, 2);
    for (unsigned int i = 0; i < 4; i++)
        vector(i);
    store(0x10, 2, 4);
    create_eq(1, ring(ENTRIES, 16, 16).bus, 6);
    for (uint32_t i = 1; i <= 2; i++) {
        create_cq(i, ring(32, 32, 16).bus, 5, 1);
        create_qp(i, i, 4, 3);
        register_mr(9 + i, 1 + below(i == 1 ? 4 : 64), i == 2);
    }
    connect_qp(1);
    connect_qp(2);
}

/* ---- what happens by chance ---- */

static void any_store(void) {
    static const uint32_t registers[] = {0x00, 0x04,  0x14,  0x18,  0x30,  0x34,  0x48,  0x4c, 0x50,
                                         0x80, 0x100, 0x108, 0x110, 0x1f8, 0x200, 0x300, 0x400};
    static const uint32_t spaces[] = {0x1000, 0x5f000, 0x61000, 0x79000, 0x80000, 0xff000};
    static const unsigned int sizes[] = {8, 4, 8, 4, 2, 1};
    static const uint32_t bases[] = {0x20, 0x28, 0x38, 0x40, 0x60, 0x68, 0x70, 0x78};
    unsigned int size = sizes[below(6)];
    if (one_in(8)) { /* where rings are said to be: whole addresses, so that they stay harmless */
        uint32_t at = bases[below(8)];
        uint64_t to = address();
        if (at < 0x60)
            store(at + 4, to >> 32, 4);
        store(at, at < 0x60 ? (uint32_t)to : to, at < 0x60 ? 4 : 8);
        return;
    }
    uint32_t at = one_in(2) ? registers[below(17)] : spaces[below(6)] + (below(0x1000) & ~7u);
    store(at & ~(size - 1), one_in(2) ? edge() : (uint64_t)below(4) << 32 | below(200) | (uint64_t)below(2) << 31,
          size);
}

static void any_read(void) {
    uint32_t at = below(REGISTERS - 8) & (one_in(2) ? 0xff8 : ~7u);
    (void)(one_in(2) ? *(volatile uint64_t *)(bar0 + at) : *(volatile uint32_t *)(bar0 + at));
    (void)*(volatile uint32_t *)(bar2 + (below(VECTORS) & ~3u));
}

/* Work requests and receive requests: headers that are nearly right, everything else as it comes. */
static void work(uint32_t number) {
    static const uint8_t operations[] = {0, 1, 2, 2, 3, 9, 13, 14, 15, 16, 17, 18, 4};
    uint64_t blocks = 1 + below(4), words[16];
    uint8_t operation = one_in(8) ? (uint8_t)below(32) : operations[below(13)];
    for (unsigned int i = 1; i < 16; i++)
        words[i] = one_in(2)   ? 0x10000000 + below(8 * PAGE)
                   : one_in(2) ? (uint64_t)(10 + below(3)) << 40 | below(PAGE)
                               : edge();
    if (one_in(2)) /* one segment, data of one region to the other */
        words[1] = (uint64_t)(10u << 8) | (uint64_t)64 << 32, words[2] = 0x10000000,
        words[3] = (uint64_t)(10u << 8) << 32 | 64;
    sq[number].pi += (uint32_t)blocks;
    words[0] = (uint64_t)below(7) << 56 | (blocks - 1) << 52 | (uint64_t)number << 32 | (uint64_t)operation << 27 |
               (uint64_t)below(16) << 22 | (sq[number].pi & 0xffff);
    for (unsigned int block = 0; block < blocks; block++)
        put(&sq[number], sq[number].pi - (uint32_t)blocks + block, words + 4 * block, 32);
    store(0x5f000, (uint64_t)number << 32 | (sq[number].pi & 0xffff), 8);
}
static void receive(uint32_t number) {
    rq[number].pi++;
    uint64_t words[4] = {(uint64_t)number << 32 | (rq[number].pi & 0xffff), any(), 0x10000000 + below(8 * PAGE),
                         (uint64_t)(10 + below(3)) << 40 | below(PAGE)};
    put(&rq[number], rq[number].pi - 1, words, 32);
    store(0x61000, words[0], 8);
}

/* Commands whose fields are plausible one by one; addresses stay harmless, numbers and sizes need not. */
static void any_command(void) {
    static const uint16_t codes[CODES] = {0,     1,     2,     3,     4,     5,     6,     8,
                                          9,     11,    12,    0x100, 0x101, 0x102, 0x103, 0x104,
                                          0x105, 0x106, 0x107, 0x108, 0x109, 0x10a, 0x10b, 0x1ff};
    struct command c = {{{0}}};
    uint16_t code = codes[below(CODES)];
    uint32_t number = 1 + below(3);
    if (one_in(3) && code == 1) {
        create_qp(below(3), below(4), below(17), below(12));
        return;
    }
    if (code == 4) {
        create_cq(number, address(), below(24), below(5));
        return;
    }
    if (code == 8) {
        register_mr(9 + below(4), 1 + below(200), one_in(2));
        return;
    }
    if (code == 0x100) {
        create_eq(below(6), address(), below(18));
        return;
    }
    if (code == 3 && one_in(2)) {
        connect_qp(1 + below(2));
        return;
    }
    set32(&c, 8, code == 3 ? below(7) << 24 | number : one_in(8) ? (uint32_t)edge() : number);
    if (code == 11 || code == 12 || code >= 0x104) {
        set32(&c, 12, number);
        set64(&c, 16, address());
        set32(&c, 24, one_in(4) ? (uint32_t)edge() : 256);
    }
    stage(code >> 8, code & 0xff, c);
    if (!one_in(4))
        ring_commands();
}

static void act(void) {
    actions++;
    switch (below(40)) {
    case 0:
        function_reset();
        break;
    case 1:
        enable(one_in(2), !one_in(8));
        break;
    case 2:
        place();
        break;
    case 3:
        config_write(msix + 2, (config_read(msix + 2, 2) & 0x3fff) | below(4) << 14, 2);
        break;
    case 4:
    case 5:
    case 6:
        vector(below(32));
        break;
    case 7: /* words of the table, one by one, and the pending bits */
        *(volatile uint32_t *)(bar2 + 16 * below(32) + 12) = (uint32_t)any();
        *(volatile uint32_t *)(bar2 + 0x1000 + (below(0x1000) & ~3u)) = (uint32_t)any();
        break;
    case 8:
        store(0x10, below(3), 4);
        break;
    case 9: { /* a hole in a ring or a table */
        uint64_t at = (uint64_t)below(WINDOW / 8) * 8;
        uint64_t value = one_in(2) ? address() : edge();
        memcpy(arena + at, &value, 8);
        break;
    }
    case 10 ... 16:
        any_store();
        break;
    case 17:
    case 18:
        any_read();
        break;
    case 19 ... 25:
        any_command();
        break;
    case 26 ... 33:
        work(1 + below(2));
        break;
    case 34 ... 37:
        receive(1 + below(2));
        break;
    default: /* arms everything */
        for (unsigned int i = 0; i < 3; i++) {
            store(0x79000 + 8 * i, (uint64_t)i << 32 | 1u << 31 | below(64), 8);
            store(0x100 + 8 * i, 1u << 31 | below(64), 8);
        }
        store(0x50, 1u << 31 | below(64), 8);
        store(0x300, 1u << 31 | below(64), 8);
        break;
    }
}

static volatile uint8_t *map(const char *bdf, const char *resource, size_t bytes) {
    char path[128];
    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, resource);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *at = fd < 0 ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        end("%s", path);
    return at;
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: %s BDF ARENA BYTES MMCFG SEED SECONDS\n", argv[0]);
        return 2;
    }
    char path[128];
    const char *bdf = argv[1];
    unsigned int bus, device, function;
    uint64_t seed = strtoull(argv[5], NULL, 0);
    size_t bytes = strtoull(argv[3], NULL, 0);
    arena_bus = strtoull(argv[2], NULL, 0);
    if (bytes < 2 * WINDOW || sscanf(bdf, "%*x:%x:%x.%u", &bus, &device, &function) != 3)
        end("usage");
    mmcfg = strtoull(argv[4], NULL, 0);
    if (mmcfg)
        mmcfg += (uint64_t)bus << 20 | device << 15 | function << 12;
    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", bdf);
    config = open(path, O_RDWR | O_CLOEXEC);
    int memory = open("/dev/mem", O_RDWR | O_SYNC | O_CLOEXEC);
    if (config < 0 || memory < 0)
        end("%s or /dev/mem", path);
    arena = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, (off_t)arena_bus);
    if (arena == MAP_FAILED)
        end("/dev/mem at %#" PRIx64, arena_bus);
    bar0 = map(bdf, "resource0", REGISTERS);
    bar2 = map(bdf, "resource2", VECTORS);
    bar0_bus = ((uint64_t)config_read(0x14, 4) << 32 | config_read(0x10, 4)) & ~15ull;
    bar2_bus = ((uint64_t)config_read(0x1c, 4) << 32 | config_read(0x18, 4)) & ~15ull;
    express = capability(0x10);
    msix = capability(0x11);

    unsigned long episodes = 0;
    time_t over = time(NULL) + (time_t)strtoul(argv[6], NULL, 0);
    for (; time(NULL) < over; episodes++) {
        /* Each can be had again by itself. */
        chance = (seed + episodes) * 0x9e3779b97f4a7c15ull | 1;
        bring_up();
        for (uint32_t n = 50 + below(300); n; n--)
            act();
    }
    place();
    store(0x10, 1, 4);
    enable(false, true);
    uint32_t identity = config_read(0, 4);
    if (identity != 0x107f1ded)
        end("the adapter says that it is %#x", identity);
    printf("ok %lu actions in %lu episodes, %lu answers, %lu good\n", actions, episodes, answers, good);
    return 0;
}
