#ifndef SWVMM_CLINUX_TERMINAL_H
#define SWVMM_CLINUX_TERMINAL_H

// Terminals and pseudo-terminals.

#include <asm/ioctls.h>
#include <sys/ioctl.h>
#include <termios.h>

// The mode in which bytes pass unchanged, without echo, lines or signals, one at a time (cfmakeraw(3), by hand: it stands behind
// _DEFAULT_SOURCE). With `keepOutput` the translation of newlines on output stays as it was.
static inline void swv_termios_make_raw(struct termios *mode, int keepOutput) {
    mode->c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    if (!keepOutput) mode->c_oflag &= ~(tcflag_t)OPOST;
    mode->c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    mode->c_cflag &= ~(tcflag_t)(CSIZE | PARENB);
    mode->c_cflag |= CS8;
    mode->c_cc[VMIN] = 1;
    mode->c_cc[VTIME] = 0;
}

static inline int swv_pty_unlock(int fd) {
    int locked = 0;
    return ioctl(fd, TIOCSPTLCK, &locked);
}

static inline int swv_pty_number(int fd) {
    unsigned int number = 0;
    if (ioctl(fd, TIOCGPTN, &number) != 0) return -1;
    return (int)number;
}

// Opens the other side of a pseudo-terminal without its path; flags as for open(2).
static inline int swv_pty_open_peer(int fd, int flags) { return ioctl(fd, TIOCGPTPEER, flags); }

static inline int swv_window_size(int fd, unsigned short *columns, unsigned short *rows) {
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) != 0) return -1;
    *columns = size.ws_col;
    *rows = size.ws_row;
    return 0;
}

static inline int swv_set_window_size(int fd, unsigned short columns, unsigned short rows) {
    struct winsize size = {.ws_row = rows, .ws_col = columns};
    return ioctl(fd, TIOCSWINSZ, &size);
}

// Remembers a terminal's mode, to be restored also when this process dies of a fault. One terminal at a time.
void swv_terminal_guard(int fd, const struct termios *mode);
// Forgets it.
void swv_terminal_unguard(void);

#endif
