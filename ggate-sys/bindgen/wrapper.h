/* What bindgen.sh reads: the ABI of /dev/ggctl and the codes of its requests. */
#include <sys/types.h>
#include <sys/bio.h>
#include <sys/ioccom.h>
#include <geom/gate/g_gate.h>

/*
 * The command numbers are macros that use sizeof, which only the compiler can
 * evaluate.
 */
#define COMMAND(name)	static const unsigned long name##_NUMBER = name
COMMAND(G_GATE_CMD_CREATE);
COMMAND(G_GATE_CMD_MODIFY);
COMMAND(G_GATE_CMD_DESTROY);
COMMAND(G_GATE_CMD_CANCEL);
COMMAND(G_GATE_CMD_START);
COMMAND(G_GATE_CMD_DONE);
