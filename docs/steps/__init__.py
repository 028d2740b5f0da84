"""The steps of docs/fused_cpu.md, each an implementation that ``--impl`` takes by its class."""
