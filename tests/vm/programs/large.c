// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Large memory regions, and many objects.  The memory is sparse: a few megabytes of a memory file, mapped over and
 * over, so that a region of 4 GiB needs a page table of that size and no more memory.  The file of the "huge" cases has
 * huge pages of 2 MiB, of which the machine must have four to spare; with ERDMA_TEST_LOOK that command runs while the
 * region exists.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1ull << 20)
#define PAGE 4096ull
#define LENGTH 6000u
#define FILE_BYTES (8 * MIB)
#define CHUNK (2 * MIB)

struct sparse {
    unsigned char *all, *at, *file; /* the room; the region in it; the file once more, mapped plainly */
    size_t bytes;
    bool huge;
};

/* Octet of the file behind an octet of the region: neighbouring chunks begin at other pages. */
static size_t behind(const struct sparse *s, size_t offset) {
    size_t chunk = offset / CHUNK * 7;
    return (s->huge ? chunk * CHUNK % FILE_BYTES : chunk % 1024 * PAGE) + offset % CHUNK;
}

static struct sparse sparse_open(size_t bytes, bool huge) {
    struct sparse s = {.bytes = bytes, .huge = huge};
    int fd = memfd_create("sparse", huge ? MFD_HUGETLB : 0);
    EXPECT(fd >= 0);
    CALL(ftruncate(fd, FILE_BYTES));
    s.file = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(s.file != MAP_FAILED);
    s.all = mmap(NULL, bytes + CHUNK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    EXPECT(s.all != MAP_FAILED);
    s.at = s.all + (CHUNK - (uintptr_t)s.all % CHUNK);
    for (size_t done = 0; done < bytes; done += CHUNK)
        EXPECT(mmap(s.at + done, CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd,
                    (off_t)behind(&s, done)) != MAP_FAILED);
    close(fd);
    return s;
}

static void sparse_close(struct sparse *s) {
    munmap(s->all, s->bytes + CHUNK);
    munmap(s->file, FILE_BYTES);
}

/* The client writes to, or reads from, that place of the server's region. */
static void transfer(struct pair *p, enum ibv_wr_opcode opcode, void *remote, uint32_t rkey) {
    struct work work = {.opcode = opcode,
                        .wr_id = rkey,
                        .at = p->client.buf,
                        .bytes = LENGTH,
                        .lkey = p->client.mr->lkey,
                        .rkey = rkey};
    work.remote = (uint64_t)remote;
    VERB(post(&p->client, &work));
    wc_good(p->client.scq, rkey);
}

static void try_place(struct pair *p, struct sparse *s, size_t place, uint32_t rkey) {
    uint32_t seed = (uint32_t)(place / 8) + 1;
    note("at %zu", place);
    fill(p->client.buf, LENGTH, seed);
    transfer(p, IBV_WR_RDMA_WRITE, s->at + place, rkey);
    /* Past a chunk's end the file goes on elsewhere: look at it as the region shows it, and at its begin as it is. */
    expect_data("region", s->at + place, LENGTH, seed);
    expect_data("file", s->file + behind(s, place), 8, seed);
    memset(p->client.buf, 0, LENGTH);
    transfer(p, IBV_WR_RDMA_READ, s->at + place, rkey);
    expect_data("read", p->client.buf, LENGTH, seed);
}

/* Registered, written to and read from by the peer all over, gone again. */
static void large(size_t mib, bool huge) {
    static const size_t places[] = {0,
                                    PAGE - 8,
                                    511 * PAGE + 5,
                                    CHUNK - 3000,
                                    512 * MIB + 777,
                                    1000 * MIB - 4096,
                                    1024 * MIB - 5000,
                                    2047 * MIB + 9,
                                    4095 * MIB + 2 * PAGE,
                                    4096 * MIB - LENGTH,
                                    32768 * MIB - 3000,
                                    65536 * MIB - LENGTH};
    const char *look = getenv("ERDMA_TEST_LOOK");
    struct sparse s = sparse_open(mib * MIB, huge);
    struct pair p;
    pair_open(&p, NULL);
    uint64_t begin = now_ms();
    struct ibv_mr *mr = region(p.server.pd, s.at, s.bytes, ACCESS_ALL);
    printf("# %zu MiB registered in %llu ms\n", mib, (unsigned long long)(now_ms() - begin));
    fflush(stdout);
    if (look)
        EXPECT_EQ("code of ERDMA_TEST_LOOK", 0, system(look));
    for (size_t i = 0; i < ARRAY_LEN(places) && places[i] + LENGTH <= s.bytes; i++)
        try_place(&p, &s, places[i], mr->rkey);
    begin = now_ms();
    VERB(ibv_dereg_mr(mr));
    printf("# %zu MiB deregistered in %llu ms\n", mib, (unsigned long long)(now_ms() - begin));
    pair_close(&p);
    sparse_close(&s);
}

static void mib_256(void) { large(256, false); }

static void gib_1(void) { large(1024, false); }

static void gib_4(void) { large(4096, false); }

static void gib_2_huge(void) { large(2048, true); }

static void gib_64_huge(void) { large(65536, true); }

/* Longer than the device says it can: refused at once, without a look at the memory. */
static void over_the_limit(void) {
    struct pair p;
    struct ibv_device_attr attributes;
    pair_open(&p, NULL);
    VERB(ibv_query_device(p.client.id->verbs, &attributes));
    uint64_t begin = now_ms(), bytes = attributes.max_mr_size + PAGE;
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    EXPECT(at != MAP_FAILED);
    errno = 0;
    EXPECT(!ibv_reg_mr(p.client.pd, at, bytes, ACCESS_ALL));
    EXPECT_EQ("error", EINVAL, errno);
    EXPECT(now_ms() - begin < 2000);
    munmap(at, bytes);
    pair_close(&p);
}

/* What the device has of QPs and CQs, but for a few, from 16 processes at once; a second time, too. */
#define PROCESSES 16
static void all_queues(void) {
    struct end c = {0};
    struct ibv_device_attr attributes;
    client_resolve(&c, 7);
    VERB(ibv_query_device(c.id->verbs, &attributes));
    int each = (attributes.max_qp < attributes.max_cq ? attributes.max_qp : attributes.max_cq) / PROCESSES - 2;
    uint64_t begin = now_ms();
    for (int i = 0; i < PROCESSES; i++) {
        if (fork() != 0)
            continue;
        struct ibv_context *context = ibv_open_device(c.id->verbs->device);
        EXPECT(context);
        struct ibv_pd *pd = ibv_alloc_pd(context);
        EXPECT(pd);
        for (int round = 0; round < 2; round++) {
            struct ibv_cq *cq[each];
            struct ibv_qp *qp[each];
            for (int k = 0; k < each; k++) {
                cq[k] = ibv_create_cq(context, 8, NULL, NULL, 0);
                if (!cq[k])
                    fail("CQ %d of process %d: %m", k, i);
                struct ibv_qp_init_attr init = {
                    .qp_type = IBV_QPT_RC,
                    .send_cq = cq[k],
                    .recv_cq = cq[k],
                    .cap = {.max_send_wr = 4, .max_recv_wr = 4, .max_send_sge = 1, .max_recv_sge = 1}};
                qp[k] = ibv_create_qp(pd, &init);
                if (!qp[k])
                    fail("QP %d of process %d: %m", k, i);
            }
            for (int k = 0; k < each; k++) {
                VERB(ibv_destroy_qp(qp[k]));
                VERB(ibv_destroy_cq(cq[k]));
            }
        }
        _exit(0);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        EXPECT(wait(&status) > 0);
        EXPECT_EQ("status of a process", 0, status);
    }
    printf("# %d queue pairs with completion queues made and destroyed twice by %d processes in %llu ms\n",
           each * PROCESSES, PROCESSES, (unsigned long long)(now_ms() - begin));
    CALL(rdma_destroy_id(c.id));
}

int main(int argc, char **argv) {
    static const struct test_case cases[] = {{"256-mib", mib_256, 60},
                                             {"1-gib", gib_1, 120},
                                             {"4-gib", gib_4, 240},
                                             {"2-gib-huge", gib_2_huge, 120},
                                             {"64-gib-huge", gib_64_huge, 240},
                                             {"over-the-limit", over_the_limit, 0},
                                             {"all-queues", all_queues, 400}};
    return run_cases(argc, argv, cases, ARRAY_LEN(cases));
}
