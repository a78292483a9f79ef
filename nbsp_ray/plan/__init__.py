"""From sweeps to a plan, and what it costs: phases, neuron counts, time, memory, disk."""
