"""Small firmware for virtual boards, compiled from C and assembly inside the tests."""

import hashlib
import importlib.util
import subprocess
import sys

import pytest

START = """
typedef int int32_t;
extern char __stack_top[];
extern unsigned __data_load[], __data_start[], __data_end[], __bss_start[], __bss_end[];
__attribute__((noreturn, used)) void Reset_Handler(void);
__attribute__((noreturn, used)) void start(void);
__attribute__((noreturn, noinline, used)) void pilotfish_idle(void) { for (;;) __asm__ volatile("nop"); }
#if defined(__riscv)
__attribute__((naked, section(".vectors"))) void Reset_Handler(void) {
#if defined(__riscv_flen) && !defined(NO_SWITCH)
  __asm__ volatile("li t0, 0x6000; csrs mstatus, t0"); /* mstatus.FS: the FPU on */
#endif
  __asm__ volatile("la sp, __stack_top; j start");
}
#elif defined(__aarch64__)
__attribute__((naked, section(".vectors"))) void Reset_Handler(void) {
  __asm__ volatile("adrp x0, __stack_top; add x0, x0, :lo12:__stack_top; mov sp, x0; b start");
}
#else
__attribute__((section(".vectors"), used)) const void *const vectors[16] = {__stack_top, (void *)Reset_Handler};
void Reset_Handler(void) {
  *(volatile unsigned *)0xE000ED88 |= 0xFu << 20; /* CPACR: the FPU on */
  start();
}
#endif
void start(void) {
  volatile unsigned *from = __data_load, *to = __data_start;
  while ((unsigned *)to < __data_end) *to++ = *from++;
  for (to = __bss_start; (unsigned *)to < __bss_end;) *to++ = 0;
  pilotfish_idle();
}
"""
INTERFACE = """
__attribute__((used)) const int32_t pilotfish_sizes[4] = {OBS, STATE, ACTION, DISCRETE};
__attribute__((used)) float pilotfish_obs[OBS], pilotfish_state[STATE ? STATE : 1];
__attribute__((used)) VALUE pilotfish_action[ACTION];
__attribute__((used)) void pilotfish_reset(void) { for (int i = 0; i < STATE; i++) pilotfish_state[i] = 0; }
__attribute__((used)) void pilotfish_step(void);
"""
LINKER_SCRIPT = """
MEMORY {
  FLASH (rx) : ORIGIN = 0x08000000, LENGTH = 1M
  RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 128K
}
SECTIONS {
  .vectors : { KEEP(*(.vectors)) } > FLASH
  .text : { KEEP(*(.text*)) KEEP(*(.rodata*)) } > FLASH
  .data : { __data_start = .; KEEP(*(.data*)) . = ALIGN(4); __data_end = .; } > RAM AT> FLASH
  __data_load = LOADADDR(.data);
  .bss : { __bss_start = .; KEEP(*(.bss*)) KEEP(*(COMMON)) . = ALIGN(4); __bss_end = .; } > RAM
  __stack_top = ORIGIN(RAM) + LENGTH(RAM);
  /DISCARD/ : { *(.ARM.exidx*) *(.ARM.extab*) }
}
"""
CPUS = {
    "cortex-m3": ("thumb-freestanding-eabi", "cortex_m3"),
    "cortex-m33": ("thumb-freestanding-eabihf", "cortex_m33+fp_armv8d16sp"),
    "cortex-m7": ("thumb-freestanding-eabihf", "cortex_m7+fp_armv8d16"),
    "rv32imc": ("riscv32-freestanding-none", "generic_rv32+m+c"),
    "rv32imac": ("riscv32-freestanding-none", "generic_rv32+m+a+c"),
    "rv32imafc": ("riscv32-freestanding-none", "generic_rv32+m+a+f+c"),
    "rv32imafdc": ("riscv32-freestanding-none", "generic_rv32+m+a+f+d+c"),
    "cortex-a53": ("aarch64-freestanding-none", "cortex_a53"),
    "cortex-m4": ("thumb-freestanding-eabihf", "cortex_m4+vfp4d16sp"),
    "cortex-m0plus": ("thumb-freestanding-eabi", "cortex_m0plus"),
}


@pytest.fixture(scope="session")
def firmware(tmp_path_factory):
    """firmware(source, core="cortex-m4", interface=None) -> path of a linked ELF file; equal sources build once.

    ``interface`` = (obs, state, action, discrete) adds the variables of a policy, with STATE and so on defined.
    """
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("ziglang is not installed")
    for module in ("unicorn", "capstone", "elftools"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("firmware")

    def build(source, core="cortex-m4", interface=(2, 0, 1, 0), define=""):
        obs, state, action, discrete = interface
        defines = [f"-DOBS={obs}", f"-DSTATE={state}", f"-DACTION={action}", f"-DDISCRETE={discrete}"]
        defines.append(f"-DVALUE={'int32_t' if discrete else 'float'}")
        text = (f"#define {define}\n" if define else "") + START + INTERFACE + source
        path = folder / hashlib.sha256(f"{text}{core}{interface}".encode()).hexdigest()[:16]
        if not path.exists():
            path.with_suffix(".c").write_text(text)
            (folder / "board.ld").write_text(LINKER_SCRIPT)
            triple, mcpu = CPUS[core]
            command = [sys.executable, "-m", "ziglang", "cc", "-target", triple, f"-mcpu={mcpu}", "-O2", "-fno-builtin", *defines]
            if core not in ("cortex-m3", "rv32imc"):
                command.append("-nostdlib")  # else the compiler's own software floating point
            command += [f"-Wl,-T,{folder / 'board.ld'}", "-Wl,-e,Reset_Handler", str(path.with_suffix(".c"))]
            subprocess.run([*command, "-o", str(path)], check=True)
        return path

    return build
