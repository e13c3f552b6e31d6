/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Elastic RDMA Adapter driver: vectors, AEQ and CEQs, and the regular check that nothing got lost.
 * Bring-up and its undoing call these in the order in which they stand here; all may sleep.
 */
#ifndef ERDMA_DEV_IRQ_H
#define ERDMA_DEV_IRQ_H

#include "erdma_dev.h"

/**
 * erdma_vectors_alloc() - Get MSI-X vectors: one for each online processor and one more.
 * @dev: the device; dev->vectors says how many it got
 * @most: not more than these; two are needed
 *
 * Return: 0 or -errno.
 */
int erdma_vectors_alloc(struct erdma_dev *dev, unsigned int most);
void erdma_vectors_free(struct erdma_dev *dev);
/* Ring and registers of the AEQ, before INIT; torn down after the reset.  0 or -ENOMEM. */
int erdma_aeq_setup(struct erdma_dev *dev);
void erdma_aeq_teardown(struct erdma_dev *dev);
/* Vector 0; command queue and AEQ must be set up.  0 or -errno. */
int erdma_common_irq_request(struct erdma_dev *dev);
void erdma_common_irq_release(struct erdma_dev *dev);
/* CREATE_EQ and handlers, while commands still poll.  0 or -errno, with nothing left running. */
int erdma_ceqs_start(struct erdma_dev *dev);
/* Handlers gone, DESTROY_EQ. */
void erdma_ceqs_stop(struct erdma_dev *dev);
/* Memory; after the reset, for a device that did not answer DESTROY_EQ may still write to it. */
void erdma_ceqs_free(struct erdma_dev *dev);
/* Looks every few seconds whether the device lives and whether an interrupt got lost. */
void erdma_health_start(struct erdma_dev *dev);
void erdma_health_stop(struct erdma_dev *dev);

#endif
