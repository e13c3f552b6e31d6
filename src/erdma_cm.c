// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Elastic RDMA Adapter driver: iWARP connection management (docs/spec/wire.md chapters 1, 2 and 7,
 * adapter.md 9.3).
 *
 * The kernel's TCP makes a connection and carries the two MPA frames; MODIFY_QP(RTS) then hands it
 * to the adapter, and the socket stays open only to tell when it ends.  erdma_cm_ep.h describes the
 * threads, the table erdma_ep_actions[] below what happens when.
 */
#include <linux/slab.h>
#include <net/inet_sock.h>
#include <net/net_namespace.h>

#include "erdma_cm.h"
#include "erdma_cm_crc.h"
#include "erdma_cm_listen.h"
#include "erdma_cm_path.h"
#include "erdma_cm_sock.h"
#include "erdma_ioctl.h"
#include "erdma_route.h"
#include "erdma_trace.h"

/* ---- the QP ---- */

/* Ties an unconnected QP to the endpoint.  Takes over the caller's reference. */
static int erdma_ep_bind_qp(struct erdma_ep *ep, struct erdma_qp *qp)
{
	unsigned long flags;
	int ret = -EINVAL;

	mutex_lock(&qp->state_lock);
	if (qp->state == ERDMA_QP_IDLE || qp->state == ERDMA_QP_RTR) {
		spin_lock_irqsave(&ep->cm->qp_lock, flags);
		if (!qp->ep) {
			erdma_ep_get(ep);
			qp->ep = ep;
			ep->qp = qp;
			WRITE_ONCE(ep->qpn, qp->ib.qp_num);
			ret = 0;
		}
		spin_unlock_irqrestore(&ep->cm->qp_lock, flags);
	}
	mutex_unlock(&qp->state_lock);
	if (ret)
		erdma_qp_put(qp);
	return ret;
}

static void erdma_ep_unbind_qp(struct erdma_ep *ep)
{
	struct erdma_qp *qp = ep->qp;
	unsigned long flags;

	if (!qp)
		return;
	ep->qp = NULL;
	spin_lock_irqsave(&ep->cm->qp_lock, flags);
	qp->ep = NULL;
	spin_unlock_irqrestore(&ep->cm->qp_lock, flags);
	erdma_ep_put(ep);
	erdma_qp_put(qp);
}

static void erdma_ep_stop_qp(struct erdma_ep *ep, enum erdma_hw_qp_state target)
{
	int ret;

	mutex_lock(&ep->qp->state_lock);
	ret = erdma_qp_stop(ep->qp, target);
	mutex_unlock(&ep->qp->state_lock);
	if (ret)
		ibdev_dbg(&ep->cm->ad->ib, "QP %u: cannot stop: %d\n", ep->qp->ib.qp_num, ret);
}

/* Congestion control of the connection; only revision 129 agrees on it. */
static u8 erdma_ep_cc(const struct erdma_ep *ep)
{
	if (ep->rx.f.revision != ERDMA_MPA_REV_ERDMA)
		return ep->qp->cc;
	return erdma_mpa_common_cc(ep->qp->cc, ep->rx.f.cc);
}

/*
 * MODIFY_QP(RTS) after the peer's frame and, sent or not, the own one; the caller holds ep->lock
 * and the QP's state_lock.  A peer that has closed
 * already makes it fail; one that closes from here on raises an event, which waits for ep->lock and
 * finds the state that the caller has entered.
 */
static int erdma_ep_handover(struct erdma_ep *ep, u32 ahead, const struct erdma_mpa_fields *own)
{
	struct erdma_handover h = {
		.peer_cookie = ep->rx.f.cookie,
		.cc = erdma_ep_cc(ep),
		.passive = ep->link.passive,
		.terms = {
			.revision = ep->rx.f.revision,
			.fallback = ep->fallback,
			.crc = erdma_mpa_agreed_crc(own, &ep->rx.f),
			.ird = ep->ird,
			.ord = ep->ord,
		},
	};
	int ret;

	ret = erdma_ep_sample(ep, ahead, &h);
	if (!ret)
		ret = erdma_qp_start(ep->qp, &h);
	if (ret)
		return ret;
	ep->qp->cc = h.cc;
	if (h.terms.crc)
		erdma_count(&ep->cm->ad->dev, cm_crc_cnt);
	return 0;
}

/* ---- events for the iw_cm ---- */

static int erdma_ep_raise_to(struct erdma_ep *ep, enum iw_cm_event_type type, int status,
			     const u8 *pd, u32 pd_len)
{
	struct iw_cm_event ev = {
		.event = type,
		.status = status,
		.private_data = (void *)pd,
		.private_data_len = min_t(u32, pd_len, ERDMA_MPA_OWN_PD),
		.provider_data = (void *)(uintptr_t)ep->handle,
		.ird = ep->ird,
		.ord = ep->ord,
	};

	if (ep->sock) {
		erdma_ep_sockaddrs(ep, &ev.local_addr, &ev.remote_addr);
	} else if (ep->id) {
		ev.local_addr = ep->id->m_local_addr;
		ev.remote_addr = ep->id->m_remote_addr;
	}
	if (type == IW_CM_EVENT_CONNECT_REQUEST) {
		/*
		 * This one event speaks for the peer: IRD is what we may read of it, as rdma_cm
		 * hands it to the consumer, and a target that reads what it is to write depends
		 * on it.
		 */
		swap(ev.ird, ev.ord);
		return erdma_listener_deliver(ep->listener, &ev);
	}
	return ep->id->event_handler(ep->id, &ev);
}

static void erdma_ep_raise(struct erdma_ep *ep, enum iw_cm_event_type type, int status,
			   const u8 *pd, u32 pd_len)
{
	int ret = erdma_ep_raise_to(ep, type, status, pd, pd_len);

	if (ret)
		ibdev_warn_ratelimited(&ep->cm->ad->ib, "connection manager refused event %d: %d\n",
				       type, ret);
}

/* ---- ends ---- */

static void erdma_ep_uncount(struct erdma_ep *ep)
{
	if (ep->counted)
		atomic_dec(&ep->listener->children);
	ep->counted = false;
}

static void erdma_ep_leave_listener(struct erdma_ep *ep)
{
	struct erdma_listener *l = ep->listener;

	if (!l)
		return;
	erdma_ep_uncount(ep);
	WRITE_ONCE(ep->listener, NULL);
	erdma_listener_put(l);
}

/* Gives back everything.  The caller holds a reference of its own. */
static void erdma_ep_close(struct erdma_ep *ep)
{
	struct erdma_ep *gone;

	erdma_ep_set_state(ep, ERDMA_EP_CLOSED);
	erdma_ep_stop_timer(ep);
	erdma_ep_put_socket(ep);
	erdma_ep_unbind_qp(ep);
	erdma_ep_leave_listener(ep);
	if (ep->id) {
		ep->id->rem_ref(ep->id);
		ep->id = NULL;
	}
	gone = xa_erase(&ep->cm->eps, ep->handle);
	if (gone)
		erdma_ep_put(gone);
}

/*
 * Tells that a connect attempt failed.  The iw_cm copies private data, for which there may be no
 * memory; without any, it takes the event, and without the event its consumer would wait for ever.
 */
static void erdma_ep_raise_failure(struct erdma_ep *ep, int status, const u8 *pd, u32 pd_len)
{
	if (!pd_len || erdma_ep_raise_to(ep, IW_CM_EVENT_CONNECT_REPLY, status, pd, pd_len))
		erdma_ep_raise(ep, IW_CM_EVENT_CONNECT_REPLY, status, NULL, 0);
}

/* A connect attempt is over.  The QP is free again before the consumer hears of it. */
static void erdma_ep_fail_connect(struct erdma_ep *ep, int status, const u8 *pd, u32 pd_len)
{
	struct erdma_adapter *ad = ep->cm->ad;

	erdma_dbg(&ad->ib, ERDMA_DBG_CM, "connect in state %d failed: %d\n", ep->state, status);
	erdma_count(&ad->dev, cm_connect_failed_cnt);
	if (status == -ECONNREFUSED)
		erdma_count(&ad->dev, cm_refused_cnt);
	else if (status == -ETIMEDOUT)
		erdma_count(&ad->dev, cm_timeout_cnt);
	erdma_ep_put_socket(ep);
	erdma_ep_unbind_qp(ep);
	erdma_ep_raise_failure(ep, status, pd, pd_len);
	erdma_ep_close(ep);
}

/*
 * Answers with R, its extension echoed (2.4).  If that cannot be sent, closing says the same.
 * IRD and ORD are in it where the request has them: some peers read them unasked (8.3).
 */
static void erdma_ep_send_reject(struct erdma_ep *ep, const u8 *pd, u32 pd_len)
{
	struct erdma_mpa_fields f = ep->rx.f;
	int len;

	f.flags = ERDMA_MPA_REJECT | (f.flags & ERDMA_MPA_ENHANCED);
	f.cut = false;
	f.pd_len = min(pd_len, erdma_mpa_own_pd(f.revision));
	len = erdma_mpa_build(ep->tx, sizeof(ep->tx), ERDMA_MPA_REPLY, &f, pd);
	if (len > 0)
		erdma_ep_send(ep, ep->tx, len);
}

/* The device stops first: our FIN would overtake what a paired connection delivers (1.10). */
static void erdma_ep_end_rdma(struct erdma_ep *ep)
{
	erdma_ep_stop_qp(ep, ERDMA_QP_CLOSING);
	erdma_ep_unbind_qp(ep);
	erdma_ep_raise(ep, IW_CM_EVENT_CLOSE, 0, NULL, 0);
	erdma_ep_close(ep);
}

/* ---- active side ---- */

/*
 * Picks the revision of the next attempt and builds its request.  Private data that does not fit a
 * revision leaves that one out.  Returns whether there is a next attempt.
 */
static bool erdma_ep_build_request(struct erdma_ep *ep, u32 pd_len)
{
	const struct sockaddr_storage *peer = &ep->id->m_remote_addr;
	struct in6_addr ip;
	int len;

	erdma_cm_ip(peer, &ip);
	do {
		ep->request = (struct erdma_mpa_fields) {
			.revision = erdma_peers_next(&ep->cm->peers, &ip, erdma_cm_port(peer),
						     &ep->tried, &ep->fallback),
			.flags = ep->crc == ERDMA_MPA_CRC_DEMAND ? ERDMA_MPA_CRC : 0,
			.pd_len = pd_len,
			.cookie = ep->qp->cookie,
			.cc = ep->qp->cc,
		};
		if (!ep->request.revision)
			return false;
		if (ep->request.revision == ERDMA_MPA_REV_2)
			erdma_mpa_offer(&ep->request, ep->ird, ep->ord);
		len = erdma_mpa_build(ep->tx, sizeof(ep->tx), ERDMA_MPA_REQUEST, &ep->request,
				      ep->pd);
	} while (len < 0);
	WRITE_ONCE(ep->revision, ep->request.revision);
	ep->tx_len = len;
	return true;
}

static unsigned int erdma_ep_secs_left(const struct erdma_ep *ep, unsigned int most)
{
	long left = ep->give_up - jiffies;

	return left <= 0 ? 0 : min_t(unsigned int, most, DIV_ROUND_UP(left, HZ));
}

/* Starts to connect, in the state CONNECTING. */
static int erdma_ep_attempt(struct erdma_ep *ep, struct net *net, struct iw_cm_id *id)
{
	__be16 port = erdma_cm_port(&id->m_local_addr);
	int ret;

	ret = erdma_ep_open(ep, net, id, port);
	/* rdma_cm picks ports from a space of its own; TCP may have one of them in use. */
	if (port && (ret == -EADDRINUSE || ret == -EADDRNOTAVAIL))
		ret = erdma_ep_open(ep, net, id, 0);
	if (ret)
		return ret;
	erdma_ep_set_state(ep, ERDMA_EP_CONNECTING);
	erdma_ep_start_timer(ep, erdma_ep_secs_left(ep, ERDMA_CM_CONNECT_SECS));
	return 0;
}

/*
 * A peer that does not speak the request's revision closes without a word, or answers in one of its
 * own.  Tries the next one on a new connection; false when the attempt has failed for good.
 */
static bool erdma_ep_try_next(struct erdma_ep *ep, enum erdma_fallback why)
{
	struct net *net;
	int ret;

	WRITE_ONCE(ep->fallback, why);
	if (!erdma_ep_secs_left(ep, 1) || !erdma_ep_build_request(ep, ep->request.pd_len))
		return false;
	erdma_count(&ep->cm->ad->dev, cm_fallback_cnt);
	net = get_net(sock_net(ep->sock->sk));
	erdma_ep_put_socket(ep);
	ret = erdma_ep_attempt(ep, net, ep->id);
	put_net(net);
	return !ret;
}

static void erdma_ep_on_connected(struct erdma_ep *ep)
{
	struct sock *sk = ep->sock->sk;
	int ret;

	switch (inet_sk_state_load(sk)) {
	case TCP_SYN_SENT:
	case TCP_SYN_RECV:
		return;
	case TCP_ESTABLISHED:
	case TCP_CLOSE_WAIT:
		break;
	default:
		erdma_ep_fail_connect(ep, erdma_ep_sock_error(ep), NULL, 0);
		return;
	}

	ret = erdma_ep_check_wire(ep);
	if (ret) {
		erdma_ep_fail_connect(ep, ret, NULL, 0);
		return;
	}
	erdma_ep_set_state(ep, ERDMA_EP_WAIT_REPLY);
	erdma_ep_start_timer(ep, erdma_ep_secs_left(ep, ERDMA_CM_REPLY_SECS));
	erdma_mpa_reader_init(&ep->rx, ERDMA_MPA_REPLY);
	if (erdma_ep_send(ep, ep->tx, ep->tx_len))
		erdma_ep_fail_connect(ep, -ECONNRESET, NULL, 0);
	else if (inet_sk_state_load(sk) != TCP_ESTABLISHED)
		erdma_ep_post(ep, ERDMA_EP_EV_SOCKET);
}

/* Says why over the connection, and gives up. */
static void erdma_ep_terminate(struct erdma_ep *ep, u8 code)
{
	erdma_mpa_terminate(ep->tx, code, erdma_mpa_agreed_crc(&ep->request, &ep->rx.f));
	erdma_ep_send(ep, ep->tx, ERDMA_MPA_TERMINATE_BYTES);
	erdma_ep_fail_connect(ep, -EPROTO, NULL, 0);
}

static void erdma_ep_on_established(struct erdma_ep *ep)
{
	const struct sockaddr_storage *peer = &ep->id->m_remote_addr;
	struct in6_addr ip;
	int ret;

	erdma_cm_ip(peer, &ip);
	erdma_peers_worked(&ep->cm->peers, &ip, erdma_cm_port(peer), ep->request.revision,
			   ep->fallback);
	erdma_ep_stop_timer(ep);
	erdma_ep_set_state(ep, ERDMA_EP_RDMA);
	ret = erdma_ep_raise_to(ep, IW_CM_EVENT_CONNECT_REPLY, 0, erdma_mpa_reader_pd(&ep->rx),
				ep->rx.f.pd_len);
	if (ret) {
		/* The consumer cannot have the reply, so it has no connection. */
		erdma_ep_stop_qp(ep, ERDMA_QP_ERROR);
		erdma_ep_fail_connect(ep, ret, NULL, 0);
	}
}

static void erdma_ep_on_reply(struct erdma_ep *ep)
{
	u8 terminate;
	int ret = erdma_ep_read(ep);

	if (!ret)
		return;
	if (ret > 0)
		ret = erdma_mpa_check_reply(&ep->rx.f, &ep->request, ep->crc);
	if (ret == -EPROTONOSUPPORT && erdma_ep_try_next(ep, ERDMA_FALLBACK_REVISION))
		return;
	if (ret == -ECONNRESET && !ep->rx.have && erdma_ep_try_next(ep, ERDMA_FALLBACK_CLOSED))
		return;
	if (ret == -ECONNREFUSED && ep->rx.f.flags & ERDMA_MPA_CRC &&
	    ep->crc == ERDMA_MPA_CRC_NEVER)
		erdma_count(&ep->cm->ad->dev, cm_crc_refused_cnt);
	if (ret) {
		bool rejected = ret == -ECONNRESET && ep->rx.f.flags & ERDMA_MPA_REJECT &&
				ep->rx.have == ep->rx.total;

		if (rejected)
			erdma_count(&ep->cm->ad->dev, cm_rejected_cnt);
		else if (ret == -ECONNRESET)
			erdma_count(&ep->cm->ad->dev, cm_reset_cnt);
		else if (ret != -ECONNREFUSED && ret != -ETIMEDOUT)
			ret = -EPROTO;
		erdma_ep_fail_connect(ep, ret, erdma_mpa_reader_pd(&ep->rx),
				      rejected ? ep->rx.f.pd_len : 0);
		return;
	}
	if (ep->rx.f.pd_len > ERDMA_MPA_OWN_PD) {
		erdma_ep_fail_connect(ep, -EPROTO, NULL, 0);
		return;
	}
	terminate = erdma_mpa_conclude(&ep->rx.f, &ep->request, ep->cm->ad->dev.caps.max_reads,
				       &ep->ird, &ep->ord);
	if (terminate) {
		erdma_ep_terminate(ep, terminate);
		return;
	}

	mutex_lock(&ep->qp->state_lock);
	ret = erdma_ep_handover(ep, 0, &ep->request);
	mutex_unlock(&ep->qp->state_lock);
	if (ret) {
		if (ret != -ECONNRESET && ret != -EPROTO)
			ret = erdma_is_broken(&ep->cm->ad->dev) ? -EIO : -EINVAL;
		erdma_ep_fail_connect(ep, ret, NULL, 0);
		return;
	}
	erdma_ep_on_established(ep);
}

static void erdma_ep_on_connect_timeout(struct erdma_ep *ep)
{
	erdma_ep_fail_connect(ep, -ETIMEDOUT, NULL, 0);
}

static void erdma_ep_on_connect_abort(struct erdma_ep *ep)
{
	erdma_ep_fail_connect(ep, erdma_is_broken(&ep->cm->ad->dev) ? -EIO : -ECONNABORTED, NULL,
			      0);
}

static int erdma_cm_check_param(const struct erdma_adapter *ad,
				const struct iw_cm_conn_param *param)
{
	if (erdma_is_broken(&ad->dev))
		return -EIO;
	if (param->private_data_len > ERDMA_MPA_OWN_PD || param->ird > ad->dev.caps.max_reads ||
	    param->ord > ad->dev.caps.max_reads)
		return -EINVAL;
	return 0;
}

/*
 * The QP of a connect or accept, referenced, or an ERR_PTR().  Whose it is may take long to find
 * out (erdma_qp_is_callers()), and what an endpoint hears meanwhile waits for its lock in the
 * workqueue of all endpoints: before any lock is taken.
 */
static struct erdma_qp *erdma_cm_find_qp(struct erdma_adapter *ad,
					 const struct iw_cm_conn_param *param)
{
	struct erdma_qp *qp = erdma_qp_find(ad, param->qpn);

	if (!qp)
		return ERR_PTR(-EINVAL);
	if (!erdma_qp_is_callers(qp)) {
		erdma_qp_put(qp);
		return ERR_PTR(-EPERM);
	}
	return qp;
}

/* Takes over the reference of the QP. */
static int erdma_ep_connect(struct erdma_ep *ep, struct iw_cm_id *id, struct erdma_qp *qp,
			    const struct iw_cm_conn_param *param)
{
	struct net *net;
	int ret;

	ret = erdma_ep_bind_qp(ep, qp);
	if (!ret)
		ret = erdma_ep_choose_crc(ep);
	if (ret)
		return ret;
	ep->id = id;
	id->add_ref(id);
	ep->ird = param->ird;
	ep->ord = param->ord;
	ep->give_up = jiffies + ERDMA_CM_ACTIVE_SECS * HZ;
	if (param->private_data_len)
		memcpy(ep->pd, param->private_data, param->private_data_len);
	if (!erdma_ep_build_request(ep, param->private_data_len))
		return -EINVAL;
	net = erdma_cm_net(ep->cm);
	ret = erdma_ep_attempt(ep, net, id);
	put_net(net);
	return ret;
}

/* IPv4, or IPv6 if the device can do that, at both ends. */
static bool erdma_cm_family_fits(const struct erdma_adapter *ad, const struct iw_cm_id *id)
{
	int family = id->m_local_addr.ss_family;

	if (family != AF_INET && (family != AF_INET6 || !(ad->dev.caps.flags & ERDMA_CAP_IPV6)))
		return false;
	return id->m_remote_addr.ss_family == family && id->local_addr.ss_family == family &&
	       id->remote_addr.ss_family == family;
}

static int erdma_cm_begin_connect(struct erdma_adapter *ad, struct iw_cm_id *id,
				  const struct iw_cm_conn_param *param)
{
	struct erdma_qp *qp;
	struct erdma_ep *ep;
	unsigned int scope;
	int ret;

	ret = erdma_cm_check_param(ad, param);
	if (ret)
		return ret;
	if (!erdma_cm_family_fits(ad, id))
		return -EAFNOSUPPORT;

	qp = erdma_cm_find_qp(ad, param);
	if (IS_ERR(qp))
		return PTR_ERR(qp);
	ep = erdma_ep_alloc(ad->cm);
	if (!ep) {
		erdma_qp_put(qp);
		return -ENOMEM;
	}
	scope = erdma_ep_lock(ep);
	ret = erdma_ep_connect(ep, id, qp, param);
	if (ret)
		erdma_ep_close(ep);
	erdma_ep_unlock(ep, scope);
	erdma_ep_put(ep);
	return ret;
}

int erdma_cm_connect(struct iw_cm_id *id, struct iw_cm_conn_param *param)
{
	struct erdma_adapter *ad = to_erdma(id->device);
	int ret;

	/* Counted first: the events of a failing connection may come before the call returns. */
	erdma_count(&ad->dev, cm_connect_cnt);
	ret = erdma_cm_begin_connect(ad, id, param);
	if (ret)
		erdma_count(&ad->dev, cm_connect_failed_cnt);
	return ret;
}

/* ---- passive side ---- */

static void erdma_ep_on_request(struct erdma_ep *ep)
{
	int ret = erdma_ep_read(ep);

	if (!ret)
		return;
	if (ret < 0 || ep->rx.f.pd_len > ERDMA_MPA_OWN_PD || erdma_ep_sock_disturbed(ep)) {
		erdma_count(&ep->cm->ad->dev, cm_bad_requests_cnt);
		erdma_ep_close(ep);
		return;
	}
	WRITE_ONCE(ep->revision, ep->rx.f.revision);
	ret = erdma_ep_choose_crc(ep);
	if (!ret && erdma_mpa_check_request(&ep->rx.f, ep->crc)) {
		ret = -ECONNREFUSED;
		if (ep->rx.f.flags & ERDMA_MPA_CRC && ep->crc == ERDMA_MPA_CRC_NEVER)
			erdma_count(&ep->cm->ad->dev, cm_crc_refused_cnt);
	}
	if (ret) {
		erdma_count(&ep->cm->ad->dev, cm_bad_requests_cnt);
		erdma_ep_send_reject(ep, NULL, 0);
		erdma_ep_close(ep);
		return;
	}
	/* An answer, since one that closes without a word is tried in other revisions. */
	if (erdma_ep_check_wire(ep)) {
		erdma_ep_send_reject(ep, NULL, 0);
		erdma_ep_close(ep);
		return;
	}

	erdma_count(&ep->cm->ad->dev, cm_requests_cnt);
	erdma_ep_start_timer(ep, ERDMA_CM_ANSWER_SECS);
	erdma_ep_uncount(ep);
	erdma_ep_set_state(ep, ERDMA_EP_GOT_REQUEST);
	/* What is possible here: we read as much as the peer serves, and the reverse. */
	ep->ird = ep->cm->ad->dev.caps.max_reads;
	ep->ord = ep->cm->ad->dev.caps.max_reads;
	ep->ord = erdma_mpa_ord(&ep->rx.f, ep->ord);
	if (erdma_mpa_is_enhanced(&ep->rx.f)) {
		ep->ird = erdma_mpa_reads(ep->rx.f.ord, ep->ird);
		ep->ord = erdma_mpa_reads(ep->rx.f.ird, ep->ord);
	}
	ret = erdma_ep_raise_to(ep, IW_CM_EVENT_CONNECT_REQUEST, 0, erdma_mpa_reader_pd(&ep->rx),
				ep->rx.f.pd_len);
	if (ret) {
		erdma_ep_send_reject(ep, NULL, 0);
		erdma_ep_close(ep);
	}
}

/* Not answered yet.  Once closed, the consumer's accept() or reject() finds nothing. */
static void erdma_ep_on_requester_gone(struct erdma_ep *ep)
{
	if (erdma_ep_sock_disturbed(ep))
		erdma_ep_close(ep);
}

/* Nobody answers: the iw_cm dropped the request without a word, or its consumer does not care. */
static void erdma_ep_on_unanswered(struct erdma_ep *ep)
{
	erdma_ep_send_reject(ep, NULL, 0);
	erdma_ep_close(ep);
}

/* Takes over the reference of the QP, which may be an ERR_PTR(). */
static int erdma_ep_accept(struct erdma_ep *ep, struct iw_cm_id *id, struct erdma_qp *qp,
			   const struct iw_cm_conn_param *param)
{
	struct erdma_mpa_fields f = {
		.pd_len = param->private_data_len,
	};
	int len, ret;

	ret = PTR_ERR_OR_ZERO(qp);
	if (ret)
		goto reject;
	ret = erdma_cm_check_param(ep->cm->ad, param);
	if (ret) {
		erdma_qp_put(qp);
		goto reject;
	}
	ret = erdma_ep_bind_qp(ep, qp);
	if (ret)
		goto reject;

	/* The QP must receive when the reply leaves: the device starts behind it. */
	mutex_lock(&ep->qp->state_lock);
	f.cookie = ep->qp->cookie;
	f.cc = erdma_ep_cc(ep);
	erdma_mpa_answer(&f, &ep->rx.f, param->ird, param->ord, ep->crc);
	ep->ird = erdma_mpa_is_enhanced(&f) ? f.ird : param->ird;
	ep->ord = erdma_mpa_is_enhanced(&f) ? f.ord : erdma_mpa_ord(&f, param->ord);
	len = erdma_mpa_build(ep->tx, sizeof(ep->tx), ERDMA_MPA_REPLY, &f, param->private_data);
	ret = len < 0 ? len : erdma_ep_handover(ep, len, &f);
	mutex_unlock(&ep->qp->state_lock);
	if (ret)
		goto reject;

	ret = erdma_ep_send(ep, ep->tx, len);
	if (ret) {
		erdma_ep_stop_qp(ep, ERDMA_QP_ERROR);
		goto close;
	}

	erdma_ep_stop_timer(ep);
	erdma_ep_leave_listener(ep);
	ep->id = id;
	id->add_ref(id);
	erdma_ep_set_state(ep, ERDMA_EP_RDMA);
	erdma_ep_raise(ep, IW_CM_EVENT_ESTABLISHED, 0, NULL, 0);
	return 0;

reject:
	erdma_ep_send_reject(ep, NULL, 0);
close:
	erdma_ep_close(ep);
	return ret;
}

int erdma_cm_accept(struct iw_cm_id *id, struct iw_cm_conn_param *param)
{
	struct erdma_adapter *ad = to_erdma(id->device);
	struct erdma_ep *ep = erdma_ep_lookup(ad->cm, id->provider_data);
	struct erdma_qp *qp;
	unsigned int scope;
	int ret = -ECONNRESET;

	if (ep) {
		qp = erdma_cm_find_qp(ad, param);
		scope = erdma_ep_lock(ep);
		if (ep->state == ERDMA_EP_GOT_REQUEST)
			ret = erdma_ep_accept(ep, id, qp, param);
		else if (!IS_ERR(qp))
			erdma_qp_put(qp);
		erdma_ep_unlock(ep, scope);
		erdma_ep_put(ep);
	} else if (erdma_is_broken(&ad->dev)) {
		ret = -EIO;
	}
	return erdma_count_call(&ad->dev, cm_accept, ret);
}

int erdma_cm_reject(struct iw_cm_id *id, const void *pdata, u8 pdata_len)
{
	struct erdma_adapter *ad = to_erdma(id->device);
	struct erdma_ep *ep = erdma_ep_lookup(ad->cm, id->provider_data);
	unsigned int scope;
	int ret = -ECONNRESET;

	erdma_count(&ad->dev, cm_reject_cnt);
	if (!ep)
		return ret;
	scope = erdma_ep_lock(ep);
	if (ep->state == ERDMA_EP_GOT_REQUEST) {
		erdma_ep_send_reject(ep, pdata, pdata_len);
		erdma_ep_close(ep);
		ret = 0;
	}
	erdma_ep_unlock(ep, scope);
	erdma_ep_put(ep);
	return ret;
}

/* ---- connected ---- */

static void erdma_ep_on_peer_closed(struct erdma_ep *ep)
{
	/* Data here belongs to the device; only the end of the connection is for us. */
	if (inet_sk_state_load(ep->sock->sk) == TCP_ESTABLISHED)
		return;
	erdma_count(&ep->cm->ad->dev, cm_disconnected_cnt);
	erdma_ep_raise(ep, IW_CM_EVENT_DISCONNECT, 0, NULL, 0);
	erdma_ep_end_rdma(ep);
}

/* A device sends on by the NIC whatever becomes of the interfaces over it. */
static void erdma_ep_on_path(struct erdma_ep *ep)
{
	if (erdma_route_lives(ep->cm->ad, sock_net(ep->sock->sk), ep->out_index))
		return;
	erdma_count(&ep->cm->ad->dev, cm_misrouted_cnt);
	erdma_ep_raise(ep, IW_CM_EVENT_DISCONNECT, 0, NULL, 0);
	erdma_ep_end_rdma(ep);
}

/* ---- what happens when (wire.md 1.13) ---- */

typedef void (*erdma_ep_action)(struct erdma_ep *ep);

static const erdma_ep_action erdma_ep_actions[ERDMA_EP_STATES][ERDMA_EP_EVENTS] = {
	[ERDMA_EP_CONNECTING] = {
		[ERDMA_EP_EV_SOCKET] = erdma_ep_on_connected,
		[ERDMA_EP_EV_TIMEOUT] = erdma_ep_on_connect_timeout,
		[ERDMA_EP_EV_QP_STOPPED] = erdma_ep_on_connect_abort,
		[ERDMA_EP_EV_SHUTDOWN] = erdma_ep_on_connect_abort,
	},
	[ERDMA_EP_WAIT_REPLY] = {
		[ERDMA_EP_EV_SOCKET] = erdma_ep_on_reply,
		[ERDMA_EP_EV_TIMEOUT] = erdma_ep_on_connect_timeout,
		[ERDMA_EP_EV_QP_STOPPED] = erdma_ep_on_connect_abort,
		[ERDMA_EP_EV_SHUTDOWN] = erdma_ep_on_connect_abort,
	},
	[ERDMA_EP_WAIT_REQUEST] = {
		[ERDMA_EP_EV_SOCKET] = erdma_ep_on_request,
		[ERDMA_EP_EV_TIMEOUT] = erdma_ep_close,
		[ERDMA_EP_EV_LISTENER_GONE] = erdma_ep_close,
		[ERDMA_EP_EV_SHUTDOWN] = erdma_ep_close,
	},
	[ERDMA_EP_GOT_REQUEST] = {
		[ERDMA_EP_EV_SOCKET] = erdma_ep_on_requester_gone,
		[ERDMA_EP_EV_TIMEOUT] = erdma_ep_on_unanswered,
		[ERDMA_EP_EV_SHUTDOWN] = erdma_ep_close,
	},
	[ERDMA_EP_RDMA] = {
		[ERDMA_EP_EV_SOCKET] = erdma_ep_on_peer_closed,
		[ERDMA_EP_EV_PATH] = erdma_ep_on_path,
		[ERDMA_EP_EV_QP_STOPPED] = erdma_ep_end_rdma,
		[ERDMA_EP_EV_SHUTDOWN] = erdma_ep_end_rdma,
	},
};

static void erdma_ep_step(struct erdma_ep *ep, enum erdma_ep_event event)
{
	erdma_ep_action action = erdma_ep_actions[ep->state][event];

	lockdep_assert_held(&ep->lock);
	trace_erdma_cm_event(ep->cm->ad->dev.number, ep->handle, ep->state, event);
	if (action)
		action(ep);
}

/* ---- what verbs and the events of the device tell ---- */

void erdma_cm_qp_stopped(struct erdma_qp *qp)
{
	struct erdma_cm *cm = qp->ad->cm;
	unsigned long flags;

	if (!cm)
		return;
	spin_lock_irqsave(&cm->qp_lock, flags);
	if (qp->ep)
		erdma_ep_post(qp->ep, ERDMA_EP_EV_QP_STOPPED);
	spin_unlock_irqrestore(&cm->qp_lock, flags);
}

void erdma_cm_qp_destroyed(struct erdma_qp *qp)
{
	struct erdma_cm *cm = qp->ad->cm;
	struct erdma_ep *ep;
	unsigned long flags;
	unsigned int scope;

	if (!cm)
		return;
	spin_lock_irqsave(&cm->qp_lock, flags);
	ep = qp->ep;
	if (ep)
		erdma_ep_get(ep);
	spin_unlock_irqrestore(&cm->qp_lock, flags);
	if (!ep)
		return;

	scope = erdma_ep_lock(ep);
	if (ep->qp == qp)
		erdma_ep_step(ep, ERDMA_EP_EV_QP_STOPPED);
	erdma_ep_unlock(ep, scope);
	erdma_ep_put(ep);
}

/* ---- set-up and end ---- */

int erdma_cm_setup(struct erdma_adapter *ad)
{
	struct erdma_cm *cm;
	int ret = -ENOMEM;

	cm = kzalloc(sizeof(*cm), GFP_KERNEL);
	if (!cm)
		return ret;
	cm->ad = ad;
	cm->step = erdma_ep_step;
	spin_lock_init(&cm->qp_lock);
	erdma_peers_init(&cm->peers);
	xa_init_flags(&cm->eps, XA_FLAGS_ALLOC1);
	refcount_set(&cm->live, 1);
	init_completion(&cm->idle);

	/* Reclaim of memory may wait for it: erdma_ep_lock() has the rest of that. */
	cm->wq = alloc_ordered_workqueue("erdma-cm-%s", WQ_MEM_RECLAIM, pci_name(ad->dev.pdev));
	if (!cm->wq)
		goto err_free;
	ad->cm = cm;
	ret = erdma_listen_setup(cm);
	if (ret)
		goto err_wq;
	ret = erdma_path_setup(cm);
	if (ret)
		goto err_listen;
	return 0;

err_listen:
	erdma_listen_shutdown(cm);
err_wq:
	ad->cm = NULL;
	destroy_workqueue(cm->wq);
err_free:
	kfree(cm);
	return ret;
}

void erdma_cm_shutdown(struct erdma_adapter *ad)
{
	struct erdma_cm *cm = ad->cm;
	unsigned long handle;
	struct erdma_ep *ep;

	if (!cm)
		return;
	erdma_path_shutdown(cm);
	erdma_listen_shutdown(cm);
	xa_lock(&cm->eps);
	xa_for_each(&cm->eps, handle, ep)
		erdma_ep_post(ep, ERDMA_EP_EV_SHUTDOWN);
	xa_unlock(&cm->eps);

	erdma_cm_live_put(cm);
	wait_for_completion(&cm->idle);
	destroy_workqueue(cm->wq);
	xa_destroy(&cm->eps);
	ad->cm = NULL;
	kfree(cm);
}
