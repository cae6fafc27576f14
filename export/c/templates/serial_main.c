/* The policy answers on a serial line from power-on, and starts over when it is told to stop. */
#include "wire.h"

int main(void) {
  for (;;) {
    board_start();
    wire_serve();
    board_stop();
  }
}
