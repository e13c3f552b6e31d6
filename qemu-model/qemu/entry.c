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
 * running build with the one whose headers were used: structure layouts and
 * function signatures are QEMU's private matter and differ between builds.
 */
#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>

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

struct stamp_search {
    const char *wanted;
    bool found;
};

/* The first object that the loader reports is the program itself. */
static int search_program(struct dl_phdr_info *info, size_t size, void *opaque)
{
    struct stamp_search *search = opaque;

    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];

        if (header->p_type == PT_LOAD && (header->p_flags & (PF_R | PF_W | PF_X)) == PF_R) {
            const void *start = (const void *)(info->dlpi_addr + header->p_vaddr);

            /* The terminating zero is part of the comparison. */
            if (memmem(start, header->p_filesz, search->wanted, strlen(search->wanted) + 1)) {
                search->found = true;
            }
        }
    }
    return 1;
}

/* QEMU carries a stamp of version, packaging and configuration for its own modules to be checked against. */
static bool program_has_stamp(const char *stamp)
{
    struct stamp_search search = {.wanted = stamp};

    dl_iterate_phdr(search_program, &search);
    return search.found;
}

static char *running_version(void)
{
    VersionInfo *info = qmp_query_version(NULL);
    char *text;

    text = g_strdup_printf("%" PRId64 ".%" PRId64 ".%" PRId64, info->qemu->major, info->qemu->minor, info->qemu->micro);
    if (info->package && info->package[0]) {
        char *with_package = g_strdup_printf("%s (%s)", text, info->package);

        g_free(text);
        text = with_package;
    }
    qapi_free_VersionInfo(info);
    return text;
}

/* QEMU's own error reporting takes locks that do not exist yet at this time, and so may its exit handlers. */
static G_NORETURN void refuse(const char *difference, const char *running)
{
    fprintf(stderr,
            "%s: erdma: this model was built for QEMU %s, but this is QEMU %s%s; "
            "build it again on this machine (make in the build directory)\n",
            program_invocation_short_name, ERDMA_BUILT_FOR, running, difference);
    _exit(EXIT_FAILURE);
}

static void refuse_other_builds(void)
{
    static bool checked;
    g_autofree char *running = NULL;

    if (checked) {
        return;
    }
    checked = true;

    running = running_version();
    if (strcmp(running, ERDMA_BUILT_FOR) != 0) {
        refuse("", running);
    }
    if (!program_has_stamp(ERDMA_BUILT_STAMP)) {
        refuse(", configured differently (without " ERDMA_BUILT_STAMP ")", running);
    }
}

static void init_trace(void)
{
    refuse_other_builds();
    erdma_register_trace_events();
}

static void init_types(void)
{
    refuse_other_builds();
    erdma_register_types();
    erdma_register_filter_type();
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
    register_module_init(init_types, MODULE_INIT_QOM);
}
