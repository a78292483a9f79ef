"""How a task is learnt: the words, the letters of shapes, and the order in which to read.

Words, used everywhere alike (a count is of `env_steps` or of `updates`, never of "steps"):

    env step            one action played; `env_steps` counts them from the beginning of the phase
    update              one gradient step of the critics; the actor, alpha and the targets take part in some or all
    phase               learning one task, perhaps after others: what is stored, shared, killed and resumed
    trial               phases one after another: a sequence of tasks, a method, a seed, a number of skill neurons
    evaluation          the frozen policy plays some episodes, during a phase (the curve) or after it (a final one)
    past                all that a phase may know of the phases before it: agent, buffer, rollouts, `carried` arrays
    D, D_pre            the buffer of the phase's own transitions, and those of the earlier tasks that a method replays
    ingredient          one thing that a method changes (a mask, a replay, a penalty): data with hooks; a method is a
                        list of them, an `ActiveMethod` those at work in one phase
    part                `actor` or `critic`: what has an optimizer, a batch and an update rule of its own
    network             `actor`, `q1` or `q2`: what has neurons; `q1` and `q2` are the members of the part `critic`
    neuron              a hidden unit, or an output channel of a convolution; numbered from 0, input side first
    skill neuron        one of the neurons whose activation best tells good env steps from others (Eq. 1-4)
    rollouts            the steps of a final evaluation that were kept, on which neurons are scored
    q, the criterion    what makes a step of the rollouts a good one: its success flag, or the return of its game
    stack, member, lane all networks of a part lie in one tensor (L, M, P): its members are the networks of one agent,
                        its lanes agents that are learnt side by side: one, or as many as a pack has

Letters of shapes, in the order of axes:

    L lanes    M members of a part    P parameters of one network    B batch    T steps of rollouts, or of a curve
    O length of an observation        A length of an action, or number of actions        N hidden neurons of a network

Where to read:

    phase       the loop on one screen, `learn`: everything else serves it
    wishes      what the loop asks for, to act, to play and to learn, and `alone`, which answers at once
    hooks       what a method may do to it, and what it is given
    agent       the state of SAC with a way to act, to learn from a batch, and to be saved
    execution   how updates are carried out: as written, compiled, or as a captured CUDA graph
    sac         the update of all networks, Adam, the targets; gaussian, categorical: the losses for the two kinds of
                action (Algorithm 1); networks: stacks, layouts and the forward pass
    acting, evaluation, final       episodes that are played and not learnt from
    replay, frames, rollouts        transitions, for vectors and for stacked frames
    scores, importance              which neurons matter (Eq. 1-4, Taylor), and the Fisher information
    pack, lanes, workers, worker, seats
                                    many phases as one: their wishes, their tensors, their environments (a second page)
    run, past                       a phase as the store has it: opened, resumed, saved, committed
    seeding, machine, compiling, manifest, timing       chance, and what depends on the machine
"""
