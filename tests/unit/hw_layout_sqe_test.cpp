// SPDX-License-Identifier: GPL-2.0-or-later
// Work queue entries as the driver lays them out (hw_layout_test.cpp has the rest).
#include "hw_layout.h"

namespace erdma::test {
namespace {

// ---- work queue entries ----

class SqeLayout : public testing::Test {
protected:
    Sqe decoded(const void* entry, size_t bytes) {
        Sqe sqe;
        sqe.raw.fill(std::byte{0xEE});
        std::memcpy(sqe.raw.data(), entry, bytes);
        sqe.header = SqeHeader(loadLe64(sqe.raw, 0));
        EXPECT_TRUE(sqe.decode());
        return sqe;
    }
    static uint64_t header(uint64_t opcode, uint64_t wqebbs, uint64_t length = 0, uint64_t flags = 0) {
        return in(ERDMA_SQE_OPCODE, opcode) | in(ERDMA_SQE_WQEBB_CNT, wqebbs - 1) | in(ERDMA_SQE_SGL_LEN, length) |
               in(ERDMA_SQE_QPN, 0x54321) | in(ERDMA_SQE_PI, 0xabcd) | flags;
    }
    static erdma_sge sge(uint32_t i) { return {.addr = 0x1122334455667700u + i, .length = 100 + i, .stag = 0x900 + i}; }
    static void expectSge(const Sge& got, const erdma_sge& want) {
        EXPECT_EQ(got.addr, want.addr);
        EXPECT_EQ(got.length, want.length);
        EXPECT_EQ(got.stag, want.stag);
    }
    struct Entry {
        alignas(8) std::byte raw[ERDMA_MAX_SQE_WQEBBS * ERDMA_WQEBB_BYTES]{};
        template <typename T> T* as() { return reinterpret_cast<T*>(raw); }
    };
    Entry entry;
};

TEST_F(SqeLayout, Header) {
    const struct {
        uint64_t bit;
        bool (SqeHeader::*get)() const;
    } flags[] = {{ERDMA_SQE_INLINE, &SqeHeader::inlined},
                 {ERDMA_SQE_FENCE, &SqeHeader::fence},
                 {ERDMA_SQE_SE, &SqeHeader::solicited},
                 {ERDMA_SQE_CE, &SqeHeader::signalled}};
    for (const auto& flag : flags) {
        const SqeHeader h(header(ERDMA_OP_READ_INV, 3, 0x5a, flag.bit));
        for (const auto& other : flags)
            EXPECT_EQ((h.*other.get)(), other.bit == flag.bit);
        EXPECT_EQ(h.opcode(), ERDMA_OP_READ_INV);
        EXPECT_EQ(h.wqebbs(), 3u);
        EXPECT_EQ(h.sglLength(), 0x5au);
        EXPECT_EQ(h.qpn(), 0x54321u);
        EXPECT_EQ(h.indexAfter(), 0xabcd);
    }
}

TEST_F(SqeLayout, Send) {
    auto* e = entry.as<erdma_sqe_send>();
    e->header = header(ERDMA_OP_SEND_INV, 2, 2);
    e->inv_stag = 0x01020304;
    e->total_len = 201;
    e->sgl[0] = sge(0);
    e->sgl[1] = sge(1);
    Sqe sqe = decoded(e, 64);
    EXPECT_TRUE(sqe.invalidate);
    EXPECT_EQ(sqe.word8, 0x01020304u);
    EXPECT_EQ(sqe.length, 201u);
    ASSERT_EQ(sqe.sgeCount, 2u);
    expectSge(sqe.sges[0], sge(0));
    expectSge(sqe.sges[1], sge(1));

    e->header = header(ERDMA_OP_SEND_IMM, 2, 2);
    e->imm = byteSwapped(uint32_t{0x0a0b0c0d});
    sqe = decoded(e, 64);
    EXPECT_TRUE(sqe.immediate);
    EXPECT_EQ(sqe.word8, 0x0a0b0c0du);

    e->header = header(ERDMA_OP_SEND, 4, ERDMA_MAX_INLINE, ERDMA_SQE_INLINE);
    e->total_len = ERDMA_MAX_INLINE;
    sqe = decoded(e, 128);
    EXPECT_TRUE(sqe.inlined);
    EXPECT_EQ(sqe.inlineOffset, offsetof(erdma_sqe_send, sgl));
}

TEST_F(SqeLayout, Write) {
    auto* e = entry.as<erdma_sqe_write>();
    e->header = header(ERDMA_OP_WRITE_IMM, 2, 1);
    e->imm = byteSwapped(uint32_t{0x0a0b0c0d});
    e->total_len = 100;
    e->sink_stag = 0x777;
    e->sink_addr_lo = 0x55667788;
    e->sink_addr_hi = 0x11223344;
    e->sgl[0] = sge(0);
    const Sqe sqe = decoded(e, 64);
    EXPECT_TRUE(sqe.immediate);
    EXPECT_EQ(sqe.word8, 0x0a0b0c0du);
    EXPECT_EQ(sqe.remoteStag, 0x777u);
    EXPECT_EQ(sqe.remoteTo, 0x1122334455667788u);
    expectSge(sqe.sges[0], sge(0));
}

TEST_F(SqeLayout, Read) {
    auto* e = entry.as<erdma_sqe_read>();
    e->header = header(ERDMA_OP_READ_INV, 2, 1);
    e->inv_stag = 0x01020304;
    e->len = 100;
    e->sink_stag = 0x777;
    e->sink_addr_lo = 0x55667788;
    e->sink_addr_hi = 0x11223344;
    e->src = sge(0);
    const Sqe sqe = decoded(e, 64);
    EXPECT_TRUE(sqe.invalidate);
    EXPECT_EQ(sqe.word8, 0x01020304u);
    expectSge(sqe.sges[0], {.addr = 0x1122334455667788, .length = 100, .stag = 0x777});
    EXPECT_EQ(sqe.remoteStag, sge(0).stag);
    EXPECT_EQ(sqe.remoteTo, sge(0).addr);
}

TEST_F(SqeLayout, Atomic) {
    auto* e = entry.as<erdma_sqe_atomic>();
    e->header = header(ERDMA_OP_ATOMIC_CAS, 2, 1);
    e->swap_add = 0x1111111111111111;
    e->compare = 0x2222222222222222;
    e->remote = sge(0);
    e->local = sge(1);
    const Sqe sqe = decoded(e, 64);
    EXPECT_EQ(sqe.operand, 0x1111111111111111u);
    EXPECT_EQ(sqe.compare, 0x2222222222222222u);
    EXPECT_EQ(sqe.remoteStag, sge(0).stag);
    EXPECT_EQ(sqe.remoteTo, sge(0).addr);
    expectSge(sqe.sges[0], sge(1));
}

TEST_F(SqeLayout, Registration) {
    auto* e = entry.as<erdma_sqe_fastreg>();
    e->header = header(ERDMA_OP_REG_MR, 2);
    e->iova = 0x1122334455667788;
    e->len = 0x3000;
    e->stag = 0x901;
    e->attrs = in32(ERDMA_REG_MTT_CNT, 3) | in32(ERDMA_REG_MTT_TYPE, ERDMA_REG_MTT_INLINE) | ERDMA_ACCESS_LOCAL_READ |
               ERDMA_ACCESS_REMOTE_WRITE;
    for (uint64_t i = 0; i < ERDMA_REG_INLINE_PAGES; ++i)
        e->pages[i] = 0x1000 * (i + 1);
    FastRegister r = decoded(e, 64).registration;
    EXPECT_EQ(r.iova, 0x1122334455667788u);
    EXPECT_EQ(r.length, 0x3000u);
    EXPECT_EQ(r.stag, 0x901u);
    EXPECT_TRUE(r.inlineList);
    EXPECT_EQ(r.count, 3u);
    EXPECT_EQ(r.access, access::kLocalRead | access::kRemoteWrite);
    EXPECT_EQ(r.pages[2], 0x3000u);
    EXPECT_EQ(std::size(r.pages), size_t{ERDMA_REG_INLINE_PAGES});

    e->header = header(ERDMA_OP_REG_MR, 1);
    e->attrs = in32(ERDMA_REG_MTT_CNT, 300) | in32(ERDMA_REG_MTT_TYPE, ERDMA_REG_MTT_TABLE);
    r = decoded(e, 32).registration;
    EXPECT_FALSE(r.inlineList);
    EXPECT_EQ(r.count, 300u);
}

TEST_F(SqeLayout, LocalInvalidate) {
    auto* e = entry.as<erdma_sqe_local_inv>();
    e->header = header(ERDMA_OP_LOCAL_INV, 1);
    e->stag = 0x01020304;
    const Sqe sqe = decoded(e, 32);
    EXPECT_TRUE(sqe.invalidate);
    EXPECT_EQ(sqe.word8, 0x01020304u);
}

} // namespace
} // namespace erdma::test
