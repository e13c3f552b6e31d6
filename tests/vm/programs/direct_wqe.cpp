// SPDX-License-Identifier: GPL-2.0-or-later
//
// Doorbell pages and direct WQEs (docs/spec/adapter.md 6.3, 6.4, chapter 10) by a program that speaks to uverbs and
// rdma_cm itself: the distribution's provider never stores a WQE into its doorbell page.
#include "common.h"

#include <rdma/ib_user_sa.h>
#include <rdma/ib_user_verbs.h>

// Its constants bear the names of the library's.
namespace ucm {
#include <rdma/rdma_user_cm.h>
}

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

// ---- the driver's part of the ABI, from the datasheet ----

enum DoorbellKind : uint32_t { Page = 0, Entry = 1, Shared = 2 };

struct ContextAnswer {
    uint32_t device, padding, kind, slot;
    uint64_t sq, rq, cq; // mmap offsets
};

struct QueueRequest {
    uint64_t record, buffer;
    uint32_t bytes, reserved;
};

struct CqAnswer {
    uint32_t cqn, entries;
};

struct QpAnswer {
    uint32_t qpn, sqBlocks, rqEntries, rqOffset;
};

// The core's part of an answer with the driver's behind it.
template <typename Core, typename Driver> struct Answer {
    alignas(8) unsigned char octets[sizeof(Core) + sizeof(Driver)] = {};
    Core core() const {
        Core value;
        memcpy(&value, octets, sizeof(value));
        return value;
    }
    Driver driver() const {
        Driver value;
        memcpy(&value, octets + sizeof(Core), sizeof(value));
        return value;
    }
};

constexpr size_t kPage = 4096, kBlock = 32, kSlot = 128;
// With 24 credit groups, the model's default (6.3).
constexpr unsigned kExclusivePages = 64, kEntries = 496;

class Fd {
public:
    explicit Fd(int fd = -1) : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Fd() {
        if (fd_ >= 0)
            close(fd_);
    }
    int get() const { return fd_; }

private:
    int fd_;
};

// Pages of this process, or of a device file.
class Mapping {
public:
    Mapping() = default;
    Mapping(size_t bytes, int protection, int fd, uint64_t offset)
        : bytes_(bytes), at_(mmap(nullptr, bytes, protection, fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd,
                                  static_cast<off_t>(offset))) {
        if (at_ == MAP_FAILED)
            fail("mmap of %zu octets at offset %llx: %m", bytes, static_cast<unsigned long long>(offset));
    }
    Mapping(Mapping&& other) noexcept : bytes_(other.bytes_), at_(std::exchange(other.at_, MAP_FAILED)) {}
    Mapping& operator=(Mapping&& other) noexcept {
        std::swap(bytes_, other.bytes_);
        std::swap(at_, other.at_);
        return *this;
    }
    ~Mapping() {
        if (at_ != MAP_FAILED)
            munmap(at_, bytes_);
    }
    unsigned char* at(size_t offset = 0) const { return static_cast<unsigned char*>(at_) + offset; }
    uint64_t address(size_t offset = 0) const { return reinterpret_cast<uint64_t>(at(offset)); }

private:
    size_t bytes_ = 0;
    void* at_ = MAP_FAILED;
};

void store64(unsigned char* at, uint64_t value) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    *reinterpret_cast<volatile uint64_t*>(at) = htole64(value);
}

// The uverbs node of the only adapter.
std::string uverbsNode() {
    const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir("/sys/class/infiniband_verbs"), closedir);
    if (!folder)
        fail("no uverbs devices: %m");
    while (const dirent* entry = readdir(folder.get())) {
        const std::string name = entry->d_name;
        char text[16] = {};
        const Fd vendor(open(("/sys/class/infiniband_verbs/" + name + "/device/vendor").c_str(), O_RDONLY));
        if (name.starts_with("uverbs") && vendor.get() >= 0 && read(vendor.get(), text, sizeof(text) - 1) > 0 &&
            strncmp(text, "0x1ded", 6) == 0)
            return "/dev/infiniband/" + name;
    }
    fail("no adapter among the uverbs devices");
}

// A context: an open uverbs file with its doorbell pages.
class Context {
public:
    Context() : fd_(open(uverbsNode().c_str(), O_RDWR | O_CLOEXEC)) {
        if (fd_.get() < 0)
            fail("open uverbs: %m");
        ib_uverbs_get_context request = {};
        Answer<ib_uverbs_get_context_resp, ContextAnswer> answer;
        command(IB_USER_VERBS_CMD_GET_CONTEXT, request, nullptr, 0, answer.octets, sizeof(answer.octets));
        async_ = Fd(static_cast<int>(answer.core().async_fd));
        doorbells = answer.driver();
    }

    // A command of the write interface; the driver's part follows the core's in request and answer.
    template <typename Request>
    void command(uint32_t number, Request request, const void* driver, size_t driverBytes, void* answer,
                 size_t answerBytes) const {
        std::vector<unsigned char> bytes(sizeof(ib_uverbs_cmd_hdr) + sizeof(request) + driverBytes);
        if constexpr (requires { request.response; })
            request.response = reinterpret_cast<uint64_t>(answer);
        ib_uverbs_cmd_hdr header = {};
        header.command = number;
        header.in_words = static_cast<uint16_t>(bytes.size() / 4);
        header.out_words = static_cast<uint16_t>(answerBytes / 4);
        memcpy(bytes.data(), &header, sizeof(header));
        memcpy(bytes.data() + sizeof(header), &request, sizeof(request));
        if (driverBytes != 0)
            memcpy(bytes.data() + sizeof(header) + sizeof(request), driver, driverBytes);
        if (write(fd_.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
            fail("uverbs command %u: %m", number);
    }

    int fd() const { return fd_.get(); }
    ContextAnswer doorbells = {};

private:
    Fd fd_, async_;
};

// PD, CQ, QP and one region of memory in a context of their own, and the user's side of the queues.
class Queues {
public:
    static constexpr uint32_t kSendRequests = 16;
    static constexpr size_t kDataBytes = kPage;

    Queues()
        : records_(kPage, PROT_READ | PROT_WRITE, -1, 0), cqRing_(kPage, PROT_READ | PROT_WRITE, -1, 0),
          qpRing_(2 * kPage, PROT_READ | PROT_WRITE, -1, 0), data(kDataBytes, PROT_READ | PROT_WRITE, -1, 0),
          sqPage_(kPage, PROT_WRITE, context.fd(), context.doorbells.sq),
          rqPage_(kPage, PROT_WRITE, context.fd(), context.doorbells.rq),
          cqPage_(kPage, PROT_WRITE, context.fd(), context.doorbells.cq) {
        ib_uverbs_alloc_pd_resp pd = {};
        context.command(IB_USER_VERBS_CMD_ALLOC_PD, ib_uverbs_alloc_pd{}, nullptr, 0, &pd, sizeof(pd));

        ib_uverbs_reg_mr reg = {};
        reg.start = reg.hca_va = data.address();
        reg.length = kDataBytes;
        reg.pd_handle = pd.pd_handle;
        reg.access_flags = ACCESS_ALL;
        ib_uverbs_reg_mr_resp region = {};
        context.command(IB_USER_VERBS_CMD_REG_MR, reg, nullptr, 0, &region, sizeof(region));
        key = region.rkey;

        ib_uverbs_create_cq createCq = {};
        createCq.cqe = 64;
        createCq.comp_channel = -1;
        const QueueRequest cqMemory = {records_.address(64), cqRing_.address(), kPage, 0};
        Answer<ib_uverbs_create_cq_resp, CqAnswer> cq;
        context.command(IB_USER_VERBS_CMD_CREATE_CQ, createCq, &cqMemory, sizeof(cqMemory), cq.octets,
                        sizeof(cq.octets));
        cqDepth_ = cq.driver().entries;

        ib_uverbs_create_qp createQp = {};
        createQp.pd_handle = pd.pd_handle;
        createQp.send_cq_handle = createQp.recv_cq_handle = cq.core().cq_handle;
        createQp.max_send_wr = kSendRequests;
        createQp.max_recv_wr = 1;
        createQp.max_send_sge = createQp.max_recv_sge = 1;
        createQp.max_inline_data = 96;
        createQp.qp_type = IBV_QPT_RC;
        const QueueRequest qpMemory = {records_.address(), qpRing_.address(), 2 * kPage, 0};
        Answer<ib_uverbs_create_qp_resp, QpAnswer> qp;
        context.command(IB_USER_VERBS_CMD_CREATE_QP, createQp, &qpMemory, sizeof(qpMemory), qp.octets,
                        sizeof(qp.octets));
        number = qp.driver().qpn;
        depth_ = qp.driver().sqBlocks;
        EXPECT_EQ("send queue blocks", 4 * kSendRequests, depth_);
        EXPECT_EQ("completion queue entries", 64, cqDepth_);
    }

    // Slots of the send doorbell page (6.4).
    unsigned char* ordinarySlot() const {
        return context.doorbells.kind == Entry ? sqPage_.at(context.doorbells.slot * 2 * kSlot)
                                               : sqPage_.at(number % 32 * kSlot);
    }
    unsigned char* directSlot() const {
        switch (context.doorbells.kind) {
        case Entry:
            return ordinarySlot() + kSlot;
        case Page:
            return sqPage_.at((1 + number % 31) * kSlot);
        default:
            return ordinarySlot();
        }
    }

    // An RDMA Write whose data is in the WQE, of 1 to 4 blocks: the header takes one, the data the others.
    struct Wqe {
        unsigned char octets[4 * kBlock] = {};
        unsigned blocks = 0;
        uint64_t header = 0;
    };
    Wqe write(const Queues& peer, size_t peerOffset, const void* payload, size_t bytes, bool direct) {
        Wqe wqe;
        wqe.blocks = static_cast<unsigned>(1 + (bytes + kBlock - 1) / kBlock);
        const auto after = static_cast<uint16_t>(producer_ + wqe.blocks);
        wqe.header = uint64_t{bytes} << 56 | uint64_t{wqe.blocks - 1} << 52 | uint64_t{number} << 32 |
                     (direct ? uint64_t{1} << 26 : 0) | uint64_t{1} << 25 | uint64_t{1} << 22 | after;
        const uint64_t header = htole64(wqe.header);
        const uint64_t to = htole64(peer.data.address(peerOffset));
        const uint32_t length = htole32(static_cast<uint32_t>(bytes)), remoteKey = htole32(peer.key);
        memcpy(wqe.octets, &header, 8);
        memcpy(wqe.octets + 12, &length, 4);
        memcpy(wqe.octets + 16, &remoteKey, 4);
        memcpy(wqe.octets + 20, &to, 8);
        if (bytes != 0)
            memcpy(wqe.octets + kBlock, payload, bytes);
        return wqe;
    }

    void toRing(const Wqe& wqe) {
        for (unsigned i = 0; i < wqe.blocks; i++)
            memcpy(qpRing_.at((producer_ + i) % depth_ * kBlock), wqe.octets + i * kBlock, kBlock);
        producer_ = static_cast<uint16_t>(producer_ + wqe.blocks);
        store64(records_.at(), wqe.header);
    }
    void toSlot(const Wqe& wqe, size_t from = 0, size_t until = SIZE_MAX) const {
        for (size_t i = from; i < std::min(until, wqe.blocks * kBlock); i += 8) {
            uint64_t word;
            memcpy(&word, wqe.octets + i, 8);
            store64(directSlot() + i, le64toh(word));
        }
    }
    void ring(uint64_t header) const { store64(ordinarySlot(), header & 0x000FFFFF0000FFFFull); }

    // Waits for the next entry of the completion queue; its syndrome.
    unsigned completion(int limit = 5000) {
        const uint64_t end = now_ms() + static_cast<uint64_t>(limit);
        volatile uint32_t* entry = reinterpret_cast<volatile uint32_t*>(cqRing_.at(consumer_ % cqDepth_ * kBlock));
        const uint32_t old = (consumer_ & cqDepth_) != 0 ? 1 : 0;
        while (((be32toh(entry[0]) >> 31) ^ old) != 1) {
            if (now_ms() > end)
                fail("no completion within %d ms", limit);
            usleep(200);
        }
        std::atomic_thread_fence(std::memory_order_seq_cst);
        EXPECT_EQ("queue pair of the completion", number, be32toh(entry[2]));
        consumer_++;
        return be32toh(entry[0]) & 0xFF;
    }

    Context context;

private:
    Mapping records_, cqRing_, qpRing_;

public:
    Mapping data;
    uint32_t key = 0, number = 0;

private:
    Mapping sqPage_, rqPage_, cqPage_;
    uint32_t depth_ = 0, cqDepth_ = 0, consumer_ = 0;
    uint16_t producer_ = 0;
};

// rdma_cm without its library: just enough to join two queue pairs of this process.
class Channel {
public:
    Channel() : fd_(open("/dev/infiniband/rdma_cm", O_RDWR | O_CLOEXEC)) {
        if (fd_.get() < 0)
            fail("open rdma_cm: %m");
    }

    template <typename Request> void command(uint32_t number, Request request, void* answer, size_t answerBytes) {
        struct {
            ucm::rdma_ucm_cmd_hdr header;
            Request body;
        } whole = {};
        if constexpr (requires { request.response; })
            request.response = reinterpret_cast<uint64_t>(answer);
        whole.header.cmd = number;
        whole.header.in = sizeof(request);
        whole.header.out = static_cast<uint16_t>(answerBytes);
        memcpy(&whole.body, &request, sizeof(request));
        if (::write(fd_.get(), &whole, sizeof(whole.header) + sizeof(request)) < 0)
            fail("rdma_cm command %u: %m", number);
    }

    uint32_t createId() {
        ucm::rdma_ucm_create_id request = {};
        ucm::rdma_ucm_create_id_resp answer = {};
        request.uid = ++uid_; // without one there are no events
        request.ps = ucm::RDMA_PS_TCP;
        request.qp_type = IBV_QPT_RC;
        command(ucm::RDMA_USER_CM_CMD_CREATE_ID, request, &answer, sizeof(answer));
        return answer.id;
    }

    ucm::rdma_ucm_event_resp event(uint32_t expected) {
        pollfd ready = {fd_.get(), POLLIN, 0};
        if (poll(&ready, 1, 10000) != 1)
            fail("no rdma_cm event %u", expected);
        ucm::rdma_ucm_get_event request = {};
        ucm::rdma_ucm_event_resp answer = {};
        command(ucm::RDMA_USER_CM_CMD_GET_EVENT, request, &answer, sizeof(answer));
        if (answer.event != expected)
            fail("rdma_cm event: expected %u got %u status %d", expected, answer.event,
                 static_cast<int>(answer.status));
        return answer;
    }

private:
    Fd fd_;
    uint64_t uid_ = 0;
};

ucm::rdma_ucm_conn_param parameters(const Queues& queues) {
    ucm::rdma_ucm_conn_param param = {};
    param.qp_num = queues.number;
    param.responder_resources = param.initiator_depth = 1;
    param.valid = 1;
    return param;
}

// Two ends, connected; everything ends with the object.
struct Connection {
    Queues client, server;

    Connection() {
        sockaddr_in address = test_address();
        const uint32_t listener = channel_.createId(), active = channel_.createId();

        ucm::rdma_ucm_bind bind = {};
        bind.id = listener;
        bind.addr_size = sizeof(address);
        memcpy(&bind.addr, &address, sizeof(address));
        channel_.command(ucm::RDMA_USER_CM_CMD_BIND, bind, nullptr, 0);
        ucm::rdma_ucm_listen listen = {listener, 1};
        channel_.command(ucm::RDMA_USER_CM_CMD_LISTEN, listen, nullptr, 0);
        ucm::rdma_ucm_query query = {};
        query.id = listener;
        query.option = ucm::RDMA_USER_CM_QUERY_ADDR;
        ucm::rdma_ucm_query_addr_resp bound = {};
        channel_.command(ucm::RDMA_USER_CM_CMD_QUERY, query, &bound, sizeof(bound));
        memcpy(&address, &bound.src_addr, sizeof(address));

        ucm::rdma_ucm_resolve_addr resolve = {};
        resolve.id = active;
        resolve.timeout_ms = 2000;
        resolve.dst_size = sizeof(address);
        memcpy(&resolve.dst_addr, &address, sizeof(address));
        channel_.command(ucm::RDMA_USER_CM_CMD_RESOLVE_ADDR, resolve, nullptr, 0);
        channel_.event(RDMA_CM_EVENT_ADDR_RESOLVED);
        channel_.command(ucm::RDMA_USER_CM_CMD_RESOLVE_ROUTE, ucm::rdma_ucm_resolve_route{active, 2000}, nullptr, 0);
        channel_.event(RDMA_CM_EVENT_ROUTE_RESOLVED);

        ucm::rdma_ucm_connect connect = {};
        connect.conn_param = parameters(client);
        connect.id = active;
        channel_.command(ucm::RDMA_USER_CM_CMD_CONNECT, connect, nullptr, 0);
        const ucm::rdma_ucm_event_resp request = channel_.event(RDMA_CM_EVENT_CONNECT_REQUEST);
        ucm::rdma_ucm_accept accept = {};
        accept.conn_param = parameters(server);
        accept.id = request.id;
        accept.uid = request.id + 1000;
        channel_.command(ucm::RDMA_USER_CM_CMD_ACCEPT, accept, nullptr, 0);
        channel_.event(RDMA_CM_EVENT_ESTABLISHED);
        channel_.event(RDMA_CM_EVENT_ESTABLISHED);
    }

private:
    Channel channel_; // last member: the connection goes before the queues
};

// Uses up the doorbell pages until the next context gets the kind wanted.
std::vector<Context> useUpTo(DoorbellKind kind) {
    std::vector<Context> contexts;
    const unsigned before = kind == Page ? 0 : kind == Entry ? kExclusivePages : kExclusivePages + kEntries;
    while (contexts.size() < before)
        contexts.emplace_back();
    return contexts;
}

// ---- cases ----

void pagesAreHandedOut() {
    std::map<uint32_t, unsigned> kinds;
    std::set<unsigned> slots;
    {
        std::vector<Context> contexts;
        for (unsigned i = 0; i < kExclusivePages + kEntries + 3; i++) {
            contexts.emplace_back();
            const ContextAnswer& answer = contexts.back().doorbells;
            EXPECT_EQ("kind of doorbell",
                      i < kExclusivePages              ? Page
                      : i < kExclusivePages + kEntries ? Entry
                                                       : Shared,
                      answer.kind);
            kinds[answer.kind]++;
            if (answer.kind == Entry) {
                EXPECT(answer.slot < 16);
                slots.insert(answer.slot);
            }
        }
        EXPECT_EQ("slots in use of an entry page", 16, slots.size());
        // One that goes leaves its page to the next one.
        contexts.erase(contexts.begin() + 5);
        EXPECT_EQ("kind after a release", Page, Context().doorbells.kind);
    }
    EXPECT_EQ("kind when all are free", Page, Context().doorbells.kind);
}

constexpr size_t kPayloads[] = {0, 1, 31, 32, 33, 64, 65, 96}; // one to four blocks

// The ring says one thing, the slot another: what arrives comes from the slot.
void directFrom(DoorbellKind kind) {
    const std::vector<Context> others = useUpTo(kind);
    Connection c;
    EXPECT_EQ("kind of doorbell", kind, c.client.context.doorbells.kind);
    uint32_t seed = 1;
    for (int round = 0; round < 20; round++) {
        for (const size_t bytes : kPayloads) {
            unsigned char wanted[96], decoy[96];
            fill(wanted, sizeof(wanted), ++seed);
            fill(decoy, sizeof(decoy), seed ^ 0x5A5A);
            memset(c.server.data.at(), 0, 128);
            const auto inSlot = c.client.write(c.server, 8, wanted, bytes, true);
            c.client.toRing(c.client.write(c.server, 8, decoy, bytes, true));
            c.client.toSlot(inSlot);
            EXPECT_EQ("syndrome", 0, c.client.completion());
            expect_data("what arrived", c.server.data.at(8), bytes, seed);
            EXPECT_EQ("octet behind", 0, c.server.data.at(8)[bytes]);
        }
    }
}
void directFromPage() { directFrom(Page); }
void directFromEntry() { directFrom(Entry); }
void directFromShared() { directFrom(Shared); }

// A slot whose header is not the ring's: the ring counts.
void headersDisagree() {
    Connection c;
    unsigned char inRing[64], inSlot[64];
    fill(inRing, sizeof(inRing), 1);
    fill(inSlot, sizeof(inSlot), 2);
    auto slot = c.client.write(c.server, 0, inSlot, 33, true);
    c.client.toRing(c.client.write(c.server, 0, inRing, 64, true));
    c.client.toSlot(slot);
    EXPECT_EQ("syndrome", 0, c.client.completion());
    expect_data("what arrived", c.server.data.at(), 64, 1);
}

// Half a WQE, then an ordinary doorbell: the ring counts.
void neverFinished() {
    Connection c;
    unsigned char inRing[96], inSlot[96];
    fill(inRing, sizeof(inRing), 1);
    fill(inSlot, sizeof(inSlot), 2);
    const auto slot = c.client.write(c.server, 0, inSlot, 96, true);
    c.client.toRing(c.client.write(c.server, 0, inRing, 96, true));
    c.client.toSlot(slot, 0, 64);
    c.client.ring(slot.header);
    EXPECT_EQ("syndrome", 0, c.client.completion());
    expect_data("what arrived", c.server.data.at(), 96, 1);
    // The rest of the old one comes too late and means nothing.
    c.client.toSlot(slot, 64);
    unsigned char next[16];
    fill(next, sizeof(next), 3);
    c.client.toRing(c.client.write(c.server, 200, next, sizeof(next), false));
    c.client.ring(c.client.write(c.server, 200, next, 0, false).header);
    EXPECT_EQ("syndrome", 0, c.client.completion());
    expect_data("what arrived next", c.server.data.at(200), sizeof(next), 3);
    expect_data("what arrived first, later", c.server.data.at(), 96, 1);
}

// Ordinary and direct requests in turn stay in order.
void mixedInOrder() {
    Connection c;
    unsigned char octets[96];
    for (uint32_t i = 0; i < 400; i++) {
        fill(octets, sizeof(octets), i);
        const bool direct = i % 3 != 0;
        const auto wqe = c.client.write(c.server, 0, octets, kPayloads[i % ARRAY_LEN(kPayloads)], direct);
        c.client.toRing(wqe);
        if (direct)
            c.client.toSlot(wqe);
        else
            c.client.ring(wqe.header);
        EXPECT_EQ("syndrome", 0, c.client.completion());
        expect_data("what arrived", c.server.data.at(), kPayloads[i % ARRAY_LEN(kPayloads)], i);
    }
}

// Processes that use pages, entries and the shared page at once.
void manyProcesses() {
    constexpr unsigned kProcesses = 18;
    constexpr uint32_t kWrites = 300;
    std::vector<Context> others = useUpTo(Page);
    while (others.size() < kExclusivePages - 12)
        others.emplace_back();
    std::vector<pid_t> children;
    for (unsigned p = 0; p < kProcesses; p++) {
        const pid_t child = fork();
        EXPECT(child >= 0);
        if (child == 0) {
            Connection c;
            unsigned char octets[96];
            for (uint32_t i = 0; i < kWrites; i++) {
                const size_t bytes = kPayloads[(i + p) % ARRAY_LEN(kPayloads)];
                fill(octets, sizeof(octets), i * kProcesses + p);
                const auto wqe = c.client.write(c.server, 0, octets, bytes, true);
                c.client.toRing(wqe);
                c.client.toSlot(wqe);
                EXPECT_EQ("syndrome", 0, c.client.completion(20000));
                expect_data("what arrived", c.server.data.at(), bytes, i * kProcesses + p);
            }
            _exit(0);
        }
        children.push_back(child);
    }
    for (const pid_t child : children) {
        int status = 0;
        EXPECT(waitpid(child, &status, 0) == child);
        EXPECT_EQ("exit status of a process", 0, status);
    }
}

// Pages that ring everybody's queues are given out: stores of another process that no ring can mean end nothing.
void foreignDoorbells() {
    Connection victim;
    const pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        const Context own;
        const Mapping rqPage(kPage, PROT_WRITE, own.fd(), own.doorbells.rq);
        const Mapping cqPage(kPage, PROT_WRITE, own.fd(), own.doorbells.cq);
        for (const uint64_t index : {2, 3, 0x100, 0x7fff, 0x8000, 0xffff}) {
            for (const uint64_t number : {victim.client.number, victim.server.number})
                store64(rqPage.at(), number << 32 | index);
            for (uint64_t number = 1; number < 64; number++)
                store64(cqPage.at(), number << 32 | 0x700000 | index);
        }
        _exit(0);
    }
    int status = 0;
    EXPECT(waitpid(child, &status, 0) == child);
    EXPECT_EQ("exit status of the process that stored", 0, status);
    unsigned char octets[96];
    for (uint32_t i = 0; i < 200; i++) {
        fill(octets, sizeof(octets), i);
        const auto wqe = victim.client.write(victim.server, 0, octets, sizeof(octets), false);
        victim.client.toRing(wqe);
        victim.client.ring(wqe.header);
        EXPECT_EQ("syndrome", 0, victim.client.completion());
        expect_data("what arrived", victim.server.data.at(), sizeof(octets), i);
    }
}

void refuseMapping(const char* what, const Context& context, size_t bytes, int protection, int flags, uint64_t offset) {
    void* at = mmap(nullptr, bytes, protection, flags, context.fd(), static_cast<off_t>(offset));
    if (at != MAP_FAILED)
        fail("%s: the mapping was given", what);
    if (errno != EINVAL && errno != EPERM && errno != EACCES)
        fail("%s: %m", what);
}

void mappingsAreNarrow() {
    const Context own;
    const Context foreign;
    const ContextAnswer& keys = own.doorbells;
    const Mapping page(kPage, PROT_WRITE, own.fd(), keys.sq);

    refuseMapping("code", own, kPage, PROT_WRITE | PROT_EXEC, MAP_SHARED, keys.sq);
    refuseMapping("private", own, kPage, PROT_WRITE, MAP_PRIVATE, keys.sq);
    refuseMapping("two pages", own, 2 * kPage, PROT_WRITE, MAP_SHARED, keys.sq);
    refuseMapping("a key that was never given", own, kPage, PROT_WRITE, MAP_SHARED, keys.cq + 64 * kPage);
    refuseMapping("offset 0 plus 1 GiB", own, kPage, PROT_WRITE, MAP_SHARED, uint64_t{1} << 30);
    if (mprotect(page.at(), kPage, PROT_READ | PROT_EXEC) == 0)
        fail("a doorbell page became code");
    EXPECT_EQ("errno of mprotect", EACCES, errno);
    // Keys are the context's own: the same number leads another context to its own page only.
    EXPECT_EQ("kind of the other context", Page, foreign.doorbells.kind);
}

// "hold" as first argument: waits with its page mapped until its standard input ends, then uses it.
void hold() {
    Connection c;
    unsigned char octets[96] = {};
    printf("holding\n");
    fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    const auto wqe = c.client.write(c.server, 0, octets, sizeof(octets), true);
    c.client.toRing(wqe);
    c.client.toSlot(wqe);
    c.client.ring(wqe.header);
    printf("stored\n");
}

} // namespace

int main(int argc, char** argv) {
    const test_case cases[] = {
        {"pages-are-handed-out", pagesAreHandedOut, 60},
        {"direct-from-page", directFromPage, 0},
        {"direct-from-entry", directFromEntry, 60},
        {"direct-from-shared", directFromShared, 60},
        {"headers-disagree", headersDisagree, 0},
        {"never-finished", neverFinished, 0},
        {"mixed-in-order", mixedInOrder, 0},
        {"many-processes", manyProcesses, 90},
        {"mappings-are-narrow", mappingsAreNarrow, 0},
        {"foreign-doorbells", foreignDoorbells, 0},
    };
    const test_case holding[] = {{"hold", hold, 120}};
    rlimit files = {};
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (argc > 1 && strcmp(argv[1], "hold") == 0)
        return run_cases(argc - 1, argv + 1, holding, ARRAY_LEN(holding));
    return run_cases(argc, argv, cases, ARRAY_LEN(cases));
}
