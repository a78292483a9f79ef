"""The causal test of the neuron scores, `nbsp-ray probe`: silence neurons of trained first phases; what breaks?

`request` says which phases and which neurons, and what an answer is called in the store; `measure` finds the answers.
"""
