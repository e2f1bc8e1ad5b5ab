"""An emulated LLM engine: vLLM's HTTP shape over a pure batch model, for tests, demos and benchmarks.

The parts, from pure to not: `blocks` and `model` (what a batch costs), `profiles` (figures of named machines),
`vocabulary`, `text` and `answer` (deterministic readable tokens), `chat` and `script` (templates, forced answers),
`runner` (asyncio time), `protocol`, `wire`, `faults`, `metrics`, `app` and `server` (HTTP), `command` (flags).
"""
