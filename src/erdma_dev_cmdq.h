/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: commands (adapter.md chapter 3), and the end of a device that does
 * not answer them.
 */
#ifndef ERDMA_DEV_CMDQ_H
#define ERDMA_DEV_CMDQ_H

#include "erdma_dev.h"

/**
 * erdma_retire() - Reset the device for good, without a word.
 * @dev: the device
 *
 * When it returns, also to a later caller, the device has taken the reset, commands fail with -EIO
 * and who waited for one wakes.  Any context.  Return: was this the first call?
 */
bool erdma_retire(struct erdma_dev *dev);

/**
 * erdma_mark_broken() - Declare the device dead.
 * @dev: the device
 * @why: for the log
 *
 * As erdma_retire(); besides, the first call logs why, and &erdma_dev_ops.died is called from a
 * workqueue.  Any context.
 */
void erdma_mark_broken(struct erdma_dev *dev, const char *why);

/**
 * erdma_check_alive() - Read one register; a device that is gone or was reset is marked broken.
 * @dev: the device
 *
 * Any context.  Return: does it still work?
 */
bool erdma_check_alive(struct erdma_dev *dev);

/* Locks, wait queues and works.  0 or -ENOMEM. */
int erdma_cmdq_init(struct erdma_dev *dev);
/* Waits for what is still queued. */
void erdma_cmdq_exit(struct erdma_dev *dev);

/**
 * erdma_cmdq_setup() - Allocate the rings and tell the device of them, before INIT.
 * @dev: the device
 *
 * Commands are waited for by polling until erdma_cmdq_enter_event_mode().  May sleep.
 *
 * Return: 0 or -ENOMEM.
 */
int erdma_cmdq_setup(struct erdma_dev *dev);
/* From here on the device's interrupts tell of completions, once, after the CEQs were made. */
void erdma_cmdq_enter_event_mode(struct erdma_dev *dev);
/* After the reset: the device no longer touches the rings. */
void erdma_cmdq_teardown(struct erdma_dev *dev);
/* Completes commands; vector 0, hard irq. */
void erdma_cmdq_interrupt(struct erdma_dev *dev);

/**
 * erdma_cmd_exec() - Send one command and sleep until it completed.
 * @dev: the device
 * @sub: sub-module, ERDMA_SUB_*
 * @opcode: ERDMA_CMD_*
 * @request: the entry; it begins with a header that this function fills
 * @len: its octets, at most ERDMA_CMD_ENTRY_BYTES
 * @resp0: gets the first result, or NULL
 * @resp1: gets the second result, or NULL
 *
 * Sleeps up to ERDMA_CMD_TIMEOUT_MS; no spinlock may be held.
 *
 * Return: 0, -errno as the device's status says, -ETIMEDOUT (and the device is broken), -EIO when
 * it is broken.
 */
int erdma_cmd_exec(struct erdma_dev *dev, unsigned int sub, unsigned int opcode, void *request,
		   size_t len, u64 *resp0, u64 *resp1);

/**
 * erdma_cmd_exec_atomic() - Send one command and poll until it completed.
 * @dev: the device, whose commands work already
 * @sub: sub-module, ERDMA_SUB_*
 * @opcode: ERDMA_CMD_*
 * @request: the entry; it begins with a header that this function fills
 * @len: its octets, at most ERDMA_CMD_ENTRY_BYTES
 *
 * Any context but a non-maskable interrupt.  Takes as long as the device does, at most about a
 * second, after which it is broken; other commands are in nobody's way whose caller sleeps.
 *
 * Return: as erdma_cmd_exec().
 */
int erdma_cmd_exec_atomic(struct erdma_dev *dev, unsigned int sub, unsigned int opcode,
			  void *request, size_t len);

/**
 * erdma_cmd_destroy() - Make the device give up an object.
 * @dev: the device
 * @opcode: DESTROY_QP, DESTROY_CQ or DEREG_MR
 * @name: of the command, for the log
 * @value: the command's one word, which names the object
 *
 * A living device that refuses may still write to memory that is about to be freed: it is declared
 * broken.  So after this the object's memory may be freed in any case.  May sleep.
 */
void erdma_cmd_destroy(struct erdma_dev *dev, unsigned int opcode, const char *name, u32 value);

#endif
