// SPDX-License-Identifier: GPL-2.0-or-later
// An MPI program in small: a ring and an all-reduce of many sizes, whose results every rank checks.
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#define LARGEST (1 << 18)

static int rank, ranks;
static int *mine, *theirs;

static void expect(int index, int found, int wanted, const char *what) {
    if (found == wanted)
        return;
    fprintf(stderr, "rank %d: %s: element %d is %d and should be %d\n", rank, what, index, found, wanted);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

// Each rank's numbers go once around, through every other rank.
static void ring(int count) {
    for (int i = 0; i < count; i++)
        mine[i] = rank * 1000003 + i;
    for (int step = 1; step <= ranks; step++) {
        MPI_Sendrecv(mine, count, MPI_INT, (rank + 1) % ranks, step, theirs, count, MPI_INT, (rank + ranks - 1) % ranks,
                     step, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        int *swap = mine;
        int origin = (rank + ranks - step) % ranks;

        mine = theirs;
        theirs = swap;
        for (int i = 0; i < count; i++)
            expect(i, mine[i], origin * 1000003 + i, "ring");
    }
}

static void all_reduce(int count) {
    int sum = ranks * (ranks - 1) / 2;

    for (int i = 0; i < count; i++)
        mine[i] = rank + i % 1000;
    MPI_Allreduce(mine, theirs, count, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    for (int i = 0; i < count; i++)
        expect(i, theirs[i], sum + ranks * (i % 1000), "all-reduce");
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    mine = malloc(LARGEST * sizeof(int));
    theirs = malloc(LARGEST * sizeof(int));
    for (int count = 1; count <= LARGEST; count *= 8) {
        ring(count);
        all_reduce(count);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0)
        printf("%d ranks, all results are right\n", ranks);
    MPI_Finalize();
    free(mine);
    free(theirs);
    return 0;
}
