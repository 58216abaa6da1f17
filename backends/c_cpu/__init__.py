"""The C backend: emits readable C for the sequential form, builds it with the system compiler, runs it by ctypes."""
