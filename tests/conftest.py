"""Eight virtual devices, so that every law about devices can be tested on any machine; and compiled programs are kept
between tests, which make the same small ones again and again."""

from pathlib import Path

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parent.parent / ".pytest_cache" / "xla"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
