/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What runs when the dynamic loader has loaded the model.
 *
 * The object is named in LD_PRELOAD, so it is loaded into whatever program is
 * started, and into that program's children.  Anything that is not a QEMU
 * system emulator must not notice.  Therefore every QEMU symbol is a weak
 * reference (see ../CMakeLists.txt), the constructor calls nothing of QEMU
 * before it has found QEMU's symbols, and it takes itself out of LD_PRELOAD.
 *
 * Inside QEMU the constructor queues two initialisers, as a built-in device
 * does.  They run after QEMU's own constructors.  The first one compares the
 * running release with the one whose headers were used, since functions and
 * structures are QEMU's private matter.  Within a release they differ rarely;
 * when all of QEMU's types are there, layout.c looks, and only then the types
 * of the model join them.
 */
#include "shim.h"

#include <dlfcn.h>
#include <errno.h>

#define OWN_NAME "erdma-model"

/* Removes this object from LD_PRELOAD and leaves other people's entries alone. */
static void leave_preload(void)
{
    const char *value = getenv("LD_PRELOAD");
    char *rest;
    size_t used = 0;

    if (!value) {
        return;
    }
    rest = malloc(strlen(value) + 1);
    if (!rest) {
        return;
    }
    while (*value) {
        size_t length = strcspn(value, " :");

        if (length && !memmem(value, length, OWN_NAME, strlen(OWN_NAME))) {
            if (used) {
                rest[used++] = ':';
            }
            memcpy(rest + used, value, length);
            used += length;
        }
        value += length;
        value += strspn(value, " :");
    }
    rest[used] = '\0';
    if (used) {
        setenv("LD_PRELOAD", rest, 1);
    } else {
        unsetenv("LD_PRELOAD");
    }
    free(rest);
}

/* What --version prints. */
static char *name_of(const VersionInfo *info)
{
    const char *package = info->package && info->package[0] ? info->package : NULL;

    return g_strdup_printf("%" PRId64 ".%" PRId64 ".%" PRId64 "%s%s%s", info->qemu->major, info->qemu->minor,
                           info->qemu->micro, package ? " (" : "", package ? package : "", package ? ")" : "");
}

/* QEMU's own error reporting takes locks that do not exist yet at this time, and so may its exit handlers. */
static G_NORETURN void refuse(const VersionInfo *running, const char *difference)
{
    fprintf(stderr,
            "%s: erdma: this model was built for QEMU %s, but this is QEMU %s%s%s; "
            "build it again on this machine (make in the build directory), or install the erdma-qemu-model package "
            "that was built for it\n",
            program_invocation_short_name, ERDMA_BUILT_FOR, name_of(running), difference ? ", in which " : "",
            difference ? difference : "");
    _exit(EXIT_FAILURE);
}

static void refuse_other_releases(void)
{
    VersionInfo *running = qmp_query_version(NULL);
    g_autofree char *release = g_strdup_printf("%" PRId64 ".%" PRId64 ".", running->qemu->major, running->qemu->minor);

    if (!g_str_has_prefix(ERDMA_BUILT_FOR, release)) {
        refuse(running, NULL);
    }
    qapi_free_VersionInfo(running);
}

static void init_trace(void)
{
    refuse_other_releases();
    erdma_register_trace_events();
}

static void init_types(void)
{
    char *difference = erdma_layout_difference();

    if (difference) {
        refuse(qmp_query_version(NULL), difference);
    }
    erdma_register_types();
    erdma_register_filter_type();
}

/* Initialisers run in the order of the queue, and this one stands before those of QEMU's own types. */
static void come_last(void)
{
    refuse_other_releases();
    register_module_init(init_types, MODULE_INIT_QOM);
}

static bool inside_system_emulator(void)
{
    /* Tools such as qemu-img have the module machinery but no PCI. */
    static const char *const needed[] = {"register_module_init", "qmp_query_version", "type_register_static",
                                         "pci_register_bar", "trace_event_register_group"};

    for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
        if (!dlsym(RTLD_DEFAULT, needed[i])) {
            return false;
        }
    }
    return true;
}

static void __attribute__((constructor)) erdma_model_loaded(void)
{
    if (!inside_system_emulator()) {
        return;
    }
    leave_preload();
    register_module_init(init_trace, MODULE_INIT_TRACE);
    register_module_init(come_last, MODULE_INIT_QOM);
}
