// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Regions in ways that the stock provider has no functions for: registered anew, and in memory of a DMA buffer.  The
 * program asks the kernel by itself, and lets a peer use the keys.
 */
#define _GNU_SOURCE
#include "common.h"

#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/ib_user_verbs.h>
#include <rdma/rdma_user_ioctl_cmds.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BYTES = 32768, SEED = 77 };

struct keys {
    uint32_t handle, lkey, rkey;
};

/* ---- what the provider has no functions for; 0 or a positive error number ---- */

static int reregister(struct ibv_mr *mr, struct ibv_pd *pd, uint32_t flags, void *start, uint64_t length,
                      uint32_t access, struct keys *keys) {
    struct ib_uverbs_rereg_mr_resp answer = {0};
    struct {
        struct ib_uverbs_cmd_hdr header;
        struct ib_uverbs_rereg_mr body;
    } request = {
        .header = {.command = IB_USER_VERBS_CMD_REREG_MR,
                   .in_words = sizeof(request) / 4,
                   .out_words = sizeof(answer) / 4},
        .body = {.response = (uintptr_t)&answer,
                 .mr_handle = mr->handle,
                 .flags = flags,
                 .start = (uintptr_t)start,
                 .length = length,
                 .hca_va = (uintptr_t)start,
                 .pd_handle = pd->handle,
                 .access_flags = access},
    };
    if (write(mr->context->cmd_fd, &request, sizeof(request)) != (ssize_t)sizeof(request))
        return errno;
    *keys = (struct keys){mr->handle, answer.lkey, answer.rkey};
    return 0;
}

static int ask(struct ibv_context *context, uint16_t object, uint16_t method, struct ib_uverbs_attr *attrs,
               unsigned int count) {
    struct {
        struct ib_uverbs_ioctl_hdr header;
        struct ib_uverbs_attr attrs[12];
    } request = {.header = {.length = (uint16_t)(sizeof(request.header) + count * sizeof(*attrs)),
                            .object_id = object,
                            .method_id = method,
                            .num_attrs = (uint16_t)count,
                            .driver_id = RDMA_DRIVER_ERDMA}};
    EXPECT(count <= ARRAY_LEN(request.attrs));
    memcpy(request.attrs, attrs, count * sizeof(*attrs));
    int result = ioctl(context->cmd_fd, RDMA_VERBS_IOCTL, &request) ? errno : 0;
    memcpy(attrs, request.attrs, count * sizeof(*attrs));
    return result;
}

static struct ib_uverbs_attr in(uint16_t id, uint64_t data, uint16_t bytes) {
    return (struct ib_uverbs_attr){.attr_id = id, .len = bytes, .flags = UVERBS_ATTR_F_MANDATORY, .data = data};
}

static int register_dmabuf(struct ibv_pd *pd, int fd, uint64_t offset, uint64_t length, uint64_t iova, uint32_t access,
                           struct keys *keys) {
    struct ib_uverbs_attr attrs[] = {
        in(UVERBS_ATTR_REG_DMABUF_MR_HANDLE, 0, 0),
        in(UVERBS_ATTR_REG_DMABUF_MR_PD_HANDLE, pd->handle, 0),
        in(UVERBS_ATTR_REG_DMABUF_MR_OFFSET, offset, 8),
        in(UVERBS_ATTR_REG_DMABUF_MR_LENGTH, length, 8),
        in(UVERBS_ATTR_REG_DMABUF_MR_IOVA, iova, 8),
        in(UVERBS_ATTR_REG_DMABUF_MR_FD, (uint32_t)fd, 4),
        in(UVERBS_ATTR_REG_DMABUF_MR_ACCESS_FLAGS, access, 4),
    };
    struct ib_uverbs_attr answers[] = {
        {.attr_id = UVERBS_ATTR_REG_DMABUF_MR_RESP_LKEY, .len = 4, .data = (uintptr_t)&keys->lkey},
        {.attr_id = UVERBS_ATTR_REG_DMABUF_MR_RESP_RKEY, .len = 4, .data = (uintptr_t)&keys->rkey},
    };
    struct ib_uverbs_attr all[ARRAY_LEN(attrs) + ARRAY_LEN(answers)];
    memcpy(all, attrs, sizeof(attrs));
    memcpy(all + ARRAY_LEN(attrs), answers, sizeof(answers));
    int result = ask(pd->context, UVERBS_OBJECT_MR, UVERBS_METHOD_REG_DMABUF_MR, all, ARRAY_LEN(all));
    keys->handle = (uint32_t)all[0].data;
    return result;
}

static void deregister(struct ibv_context *context, uint32_t handle) {
    struct ib_uverbs_attr attr = in(UVERBS_ATTR_DESTROY_MR_HANDLE, handle, 0);
    EXPECT_EQ("deregistering", 0, ask(context, UVERBS_OBJECT_MR, UVERBS_METHOD_MR_DESTROY, &attr, 1));
}

/* ---- what a peer can do with a key ---- */

static enum ibv_wc_status write_to(struct pair *p, uint64_t remote, uint32_t rkey) {
    fill(p->client.buf, BYTES, SEED);
    VERB(post(&p->client, &(struct work){.opcode = IBV_WR_RDMA_WRITE,
                                         .wr_id = 1,
                                         .at = p->client.buf,
                                         .bytes = BYTES,
                                         .lkey = p->client.mr->lkey,
                                         .remote = remote,
                                         .rkey = rkey}));
    return wc_next(p->client.scq, 5000).status;
}

static enum ibv_wc_status send_from(struct pair *p, uint64_t address, uint32_t lkey) {
    VERB(post_receive(&p->client, 2, p->client.buf, BYTES, p->client.mr->lkey));
    VERB(post(&p->server,
              &(struct work){
                  .opcode = IBV_WR_SEND, .wr_id = 3, .at = (void *)(uintptr_t)address, .bytes = BYTES, .lkey = lkey}));
    return wc_next(p->server.scq, 5000).status;
}

static void open_pair(struct pair *p) { pair_open(p, &(struct options){.bytes = BYTES}); }

/* ---- registered anew ---- */

static void other_memory(void) {
    struct pair p;
    struct keys keys;
    open_pair(&p);
    unsigned char *other = get_memory(BYTES);
    uint32_t before = p.server.mr->rkey;
    EXPECT_EQ("rereg_mr", 0,
              reregister(p.server.mr, p.server.pd, IBV_REREG_MR_CHANGE_TRANSLATION, other, BYTES, 0, &keys));
    EXPECT(keys.rkey != before);
    EXPECT_EQ("a write by the new key", IBV_WC_SUCCESS, write_to(&p, (uintptr_t)other, keys.rkey));
    expect_data("the new memory", other, BYTES, SEED);
    expect_byte("the old memory", p.server.buf, BYTES, 0);
    EXPECT_EQ("a write by the old key", IBV_WC_REM_ACCESS_ERR, write_to(&p, (uintptr_t)p.server.buf, before));
    pair_close(&p);
}

static void other_rights(void) {
    struct pair p;
    struct keys keys;
    open_pair(&p);
    EXPECT_EQ("rights that the device has not", EOPNOTSUPP,
              reregister(p.server.mr, p.server.pd, IBV_REREG_MR_CHANGE_ACCESS, NULL, 0, IBV_ACCESS_MW_BIND, &keys));
    EXPECT_EQ("a write after what was refused", IBV_WC_SUCCESS,
              write_to(&p, (uintptr_t)p.server.buf, p.server.mr->rkey));
    EXPECT_EQ("rereg_mr", 0,
              reregister(p.server.mr, p.server.pd, IBV_REREG_MR_CHANGE_ACCESS, NULL, 0, IBV_ACCESS_LOCAL_WRITE, &keys));
    EXPECT_EQ("a send from it", IBV_WC_SUCCESS, send_from(&p, (uintptr_t)p.server.buf, keys.lkey));
    wc_expect(p.client.rcq, 2, IBV_WC_SUCCESS);
    expect_data("what was sent", p.client.buf, BYTES, SEED);
    EXPECT_EQ("a write without the right", IBV_WC_REM_ACCESS_ERR, write_to(&p, (uintptr_t)p.server.buf, keys.rkey));
    pair_close(&p);
}

static void other_domain(void) {
    struct pair p;
    struct keys keys;
    open_pair(&p);
    struct ibv_pd *pd = ibv_alloc_pd(p.server.id->verbs);
    EXPECT(pd != NULL);
    EXPECT_EQ("rereg_mr", 0, reregister(p.server.mr, pd, IBV_REREG_MR_CHANGE_PD, NULL, 0, 0, &keys));
    EXPECT(ibv_dealloc_pd(pd) != 0);
    EXPECT_EQ("a write into a foreign domain", IBV_WC_REM_ACCESS_ERR, write_to(&p, (uintptr_t)p.server.buf, keys.rkey));
    pair_close(&p);
    VERB(ibv_dealloc_pd(pd));
}

/* ---- a DMA buffer ---- */

/* A buffer of shared memory; `*at` is where this process sees it. */
static int dma_buffer(size_t bytes, unsigned char **at) {
    int memory = memfd_create("regions", MFD_ALLOW_SEALING);
    int device = open("/dev/udmabuf", O_RDWR);
    EXPECT(memory >= 0);
    if (device < 0)
        fail("/dev/udmabuf: %m");
    CALL(ftruncate(memory, (off_t)bytes));
    CALL(fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK));
    *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    EXPECT(*at != MAP_FAILED);
    struct udmabuf_create create = {.memfd = (uint32_t)memory, .size = bytes};
    int buffer = ioctl(device, UDMABUF_CREATE, &create);
    if (buffer < 0)
        fail("UDMABUF_CREATE: %m");
    close(device);
    close(memory);
    return buffer;
}

static void dmabuf(void) {
    enum { BEFORE = 8192, IOVA = 0x10000000 };
    struct pair p;
    struct keys keys = {0};
    unsigned char *at;
    open_pair(&p);
    int buffer = dma_buffer(BEFORE + BYTES + 4096, &at);
    EXPECT_EQ("registering", 0, register_dmabuf(p.server.pd, buffer, BEFORE, BYTES, IOVA, ACCESS_ALL, &keys));
    close(buffer);
    EXPECT_EQ("a write", IBV_WC_SUCCESS, write_to(&p, IOVA, keys.rkey));
    expect_byte("what lies before", at, BEFORE, 0);
    expect_data("the buffer", at + BEFORE, BYTES, SEED);
    expect_byte("what lies behind", at + BEFORE + BYTES, 4096, 0);
    memset(p.client.buf, 0, BYTES);
    EXPECT_EQ("a send from it", IBV_WC_SUCCESS, send_from(&p, IOVA, keys.lkey));
    wc_expect(p.client.rcq, 2, IBV_WC_SUCCESS);
    expect_data("what was sent", p.client.buf, BYTES, SEED);
    deregister(p.server.id->verbs, keys.handle);
    EXPECT_EQ("a write to what is gone", IBV_WC_REM_ACCESS_ERR, write_to(&p, IOVA, keys.rkey));
    pair_close(&p);
}

static void no_dmabuf(void) {
    struct pair p;
    struct keys keys;
    unsigned char *at;
    open_pair(&p);
    int buffer = dma_buffer(BYTES, &at), file = open("/dev/null", O_RDWR);
    EXPECT_EQ("a descriptor that nobody has", EBADF, register_dmabuf(p.server.pd, 999, 0, BYTES, 0, ACCESS_ALL, &keys));
    EXPECT_EQ("a negative descriptor", EBADF, register_dmabuf(p.server.pd, -1, 0, BYTES, 0, ACCESS_ALL, &keys));
    EXPECT_EQ("something else", EINVAL, register_dmabuf(p.server.pd, file, 0, BYTES, 0, ACCESS_ALL, &keys));
    EXPECT_EQ("more than there is", EINVAL, register_dmabuf(p.server.pd, buffer, 4096, BYTES, 0, ACCESS_ALL, &keys));
    EXPECT_EQ("nothing", EINVAL, register_dmabuf(p.server.pd, buffer, 0, 0, 0, ACCESS_ALL, &keys));
    EXPECT_EQ("another offset in the page", EINVAL,
              register_dmabuf(p.server.pd, buffer, 8, BYTES - 8, 4096, ACCESS_ALL, &keys));
    EXPECT_EQ("remote writing alone", EINVAL,
              register_dmabuf(p.server.pd, buffer, 0, BYTES, 0, IBV_ACCESS_REMOTE_WRITE, &keys));
    pair_close(&p);
}

int main(int argc, char **argv) {
    static const struct test_case cases[] = {
        {"other-memory", other_memory, 0}, {"other-rights", other_rights, 0},
        {"other-domain", other_domain, 0}, {"dmabuf", dmabuf, 0},
        {"no-dmabuf", no_dmabuf, 0},
    };
    return run_cases(argc, argv, cases, ARRAY_LEN(cases));
}
