"""Every setting there is: one frozen schema with type, range, default and source.

A sweep file says only what differs from the benchmark's defaults. `nbsp_ray.sweepfile` reads the
files; this module must not know of files, of torch or of Ray. The same models are the content of a
phase's key, so a field belongs either to what changes numbers (`Sac`, `Learning`, `Evaluation`,
`MethodOptions`) or to what does not (`Resources`).
"""

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema

Rate = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=4_000_000_000)]
"""Below 2^32, with room for the held-out goals' offset: Meta-World seeds NumPy's old generator with it."""
Label = Annotated[str, Field(pattern=r"^[^=\s]+=\S+$", title="NAME=VALUE")]
Tasks = Annotated[tuple[str, ...], Field(min_length=2)]
"""In the order in which they are learnt; a task may come back, but not follow itself."""
SkillNeurons = (
    Annotated[int, Field(ge=0, title="a count per network")]
    | Annotated[float, Field(ge=0, le=1, title="a fraction of its hidden neurons")]
)
"""A count per network (an integer: `1` is one neuron) or a fraction of its hidden neurons (`1.0` is all)."""


class Settings(BaseModel):
    """Frozen, and closed: an unknown key is an error, a wrong type is not converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


NORMALISED: dict[str, Any] = {"layer_norm": True, "reward_scale": "running", "updates_per_env_step": 2.0}
"""What `sac.network: normalised` stands for."""


class Sac(Settings):
    """Soft Actor-Critic; the defaults are Table 2's for Meta-World."""

    network: Literal["plain", "normalised"] = Field("plain", exclude=True)
    """A preset that is not the paper's: `normalised` stands for `layer_norm: true`, `reward_scale: running` and
    `updates_per_env_step: 2`, each of which a sweep and its benchmark may set otherwise. Networks of this kind keep
    their neurons alive and learn in fewer env steps (BRO, SimBa: Nauman et al. 2024, Lee et al. 2024)."""
    layer_norm: bool = False
    """Bring what the units of each hidden fully connected layer sum up to mean 0 and variance 1 before the ReLU,
    without weights of its own. A frozen neuron keeps its weights, and its activation still moves with its layer's."""
    reward_scale: Literal["none", "running"] = "none"
    """`running`: rewards are divided, when a batch is learnt, by the standard deviation of the phase's discounted
    returns so far, as it was at the start of the episode."""
    hidden: tuple[Count, ...] = Field((256, 256), min_length=1)
    """Units of each hidden fully connected layer, the same for the actor and each Q (Appendix C.3: "three fully
    connected layers" counts the output layer)."""
    gamma: Rate = 0.99
    """Discount factor (Table 2)."""
    buffer_size: Count = 1_000_000
    """Transitions the replay buffer holds (Table 2)."""
    learning_starts: int = Field(10_000, ge=0)
    """Env steps of uniformly random actions, and the env step of the first update (Table 2, "initial collect")."""
    batch_size: Count = 256
    """Transitions per update (Table 2)."""
    updates_per_env_step: float = Field(1.0, gt=0, le=64)
    """Updates of the critics per env step; 0.25 is one update every four env steps. The literal reading of Table 2's
    "replay ratio 2" is `updates_per_env_step: 2` with `policy_frequency: 1`."""
    policy_frequency: Count = 2
    """Every n-th update trains the actor and alpha, n times on its batch (CleanRL's delayed policy update)."""
    actor_lr: float = Field(3e-4, gt=0, le=1)
    """Adam's learning rate of the actor (Table 2)."""
    critic_lr: float = Field(1e-3, gt=0, le=1)
    """Adam's learning rate of both Q networks (Table 2)."""
    alpha_lr: float = Field(1e-3, gt=0, le=1)
    """Adam's learning rate of log_alpha (CleanRL: that of the critics)."""
    adam_eps: float = Field(1e-8, gt=0, le=1)
    """Adam's epsilon."""
    tau: float = Field(0.005, gt=0, le=1)
    """Share of the new weights in each target update (Table 2, "target smoothing coefficient")."""
    target_period: Count = 1
    """Interval between two target updates (Table 2, "target network update period"): updates for continuous actions,
    env steps for discrete ones, whatever `updates_per_env_step` is."""
    autotune: bool = True
    """Learn alpha; if false it stays at `alpha` (Table 2 names both; CleanRL ignores alpha when autotuning)."""
    alpha: float = Field(0.2, gt=0)
    """Entropy coefficient, used only if `autotune` is false (Table 2)."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the networks' matrix products while learning. `bf16`: bfloat16 products with float32 weights,
    optimizers and losses; `nbsp-ray doctor` says whether it is faster here, docs/performance-learning.md compares
    learning curves."""
    target_entropy_scale: float = Field(1.0, ge=0)
    """Target entropy: -scale x dim(A) for continuous actions, scale x log(number of actions) for discrete ones."""

    @model_validator(mode="after")
    def _expand_preset(self) -> "Sac":
        """A preset is no setting of its own: what it stands for is, and is in the key of a phase."""
        if self.network == "normalised":
            given = self.model_fields_set
            self.__dict__.update({name: value for name, value in NORMALISED.items() if name not in given})
            self.__dict__["network"] = "plain"
        return self


class Learning(Settings):
    """Length of one phase's learning, and its evaluations on the way."""

    env_steps: Count = 1_000_000
    """The most env steps of the phase (Table 2, "training environment steps")."""
    stop: Literal["stable", "stable_training", "fixed"] = "stable"
    """`stable`: stop once `stop_evaluations` evaluations of the frozen policy in a row reach `stop_threshold`;
    `stable_training`: the same with the last `eval_episodes` training episodes; `fixed`: run all `env_steps`."""
    stop_threshold: Rate = 0.9
    """Success rate that counts as mastered (Table 2, "stable threshold")."""
    stop_evaluations: Count = 3
    """Evaluations in a row that must reach `stop_threshold`."""
    stop_confirm_episodes: int = Field(50, ge=0)
    """Then so many more episodes of the frozen policy must reach it too, else counting begins again; 0: no such check.
    Without it an agent that succeeds in 0.8 of all episodes is soon called stable, by luck."""
    eval_every: Count = 5_000
    """Env steps between two evaluations; they fall on the next end of an episode."""
    eval_episodes: Count = 10
    """Episodes per task of each evaluation during learning (Table 2, "average ... success rate 10")."""


class Evaluation(Settings):
    """The final evaluation; that of a first phase also supplies the steps on which neurons are scored."""

    episodes: Count = 200
    """Episodes per task and mode: 200 x 500 steps are Table 2's 10^5 testing environment steps."""
    env_steps: Count | None = None
    """In place of `episodes`: whole games until at least so many env steps are played (Table 2, Atari: 10^5)."""
    deterministic: bool = True
    """Evaluate the policy's mean action too, as a second column (the paper's agents act as in training). Each variation
    is played once, as it would only repeat itself (Meta-World 50, Atari 30): at most `episodes`, never `env_steps`."""
    goals: Literal["train", "heldout", "both"] = "train"
    """Meta-World: the 50 goals of training, or 50 others; `both` has the others as columns beside training's, with the
    stochastic policy."""


class MethodOptions(Settings):
    """Options of the methods; each method reads only what it has use for."""

    # The fields stand beside the methods, each in the `Options` of its module; they are read when a sweep first is.
    model_config = ConfigDict(defer_build=True)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A sweep's section has the options of all methods, whichever are there when it is first read."""
        if cls is not MethodOptions:
            return handler(source)
        from nbsp_ray.methods import options_model

        return handler.generate_schema(options_model())


class Resources(Settings):
    """Resources that a trial asks of the cluster. Changes no number but rounding, and is in no key."""

    cpus: Count = 1
    """CPUs and torch threads per trial; of a pack (`lanes`) the processes that play too. One is fastest: two threads
    serve two trials better than one."""
    gpus: float = Field(0.0, ge=0)
    """GPUs per trial; 0.25 packs four trials on one (Ray packs by count, it does not fence memory)."""
    memory_gb: float | None = Field(None, gt=0)
    """Memory per trial in GiB that Ray reserves; None: on a cluster as much as its phases can come to hold, and none on
    this machine alone, where `run` counts it itself."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: cuda if the trial has a GPU, else cpu."""
    compile: Literal["auto"] | bool = "auto"
    """Compile the update: `auto` does it for phases of at least 50,000 updates (it takes up to a minute, once for all
    trials on a machine, and seconds afterwards), if there is a compiler."""
    cuda_graphs: bool = True
    """On a GPU, launch all updates that are due as one captured graph."""
    lanes: Count | Literal["auto"] = 1
    """Phases of one shape (spaces, settings of SAC) that learn side by side in one process, with one update for all of
    them, and share what one trial asks for. It pays on a GPU; `auto` is as many as its memory and the CPUs allow, and 1
    on a CPU. `nbsp-ray try` then runs the whole sweep."""
    checkpoint_minutes: float = Field(5.0, gt=0)
    """At most so many minutes of work are lost to a kill -9."""
    labels: tuple[Label, ...] = ()
    """On a cluster, only machines with these labels (of `ray start --labels`): `market=spot`; `zone=in(a,b)`,
    `zone=!a` and `zone=!in(a,b)` are understood too."""
    first_labels: tuple[Label, ...] = ()
    """For first phases, which all others wait for, in place of `labels` if given: `market=on-demand`."""


class Search(Settings):
    """Choosing the number of skill neurons adaptively in place of a grid (Appendix E calls it future work).

    Each number is tried on all pairs and seeds, and what the ones before gave decides which is next.
    """

    trials: int = Field(0, ge=0)
    """Numbers of skill neurons to try at most; 0: no search, `skill_neurons` as listed."""
    skill_neurons: tuple[SkillNeurons, ...] = Field((0.0, 1.0), min_length=2, max_length=2)
    """The fewest and the most, each a fraction or a count as in `skill_neurons`."""
    weight_stability: Rate = 0.5
    """Weight of stability, of 1; plasticity has the rest: the mean of this over pairs and seeds is maximised. As in
    `nbsp-ray advise`."""
    start: Count = 4
    """Numbers tried first, evenly spread over the range."""
    at_once: Count = 1
    """Numbers chosen at a time after these: more fill a larger cluster, and know less of one another."""


def _method_defaults() -> MethodOptions:
    from nbsp_ray.methods import options_model

    return options_model()()


class Sweep(Settings):
    """All trials of one figure or table: pairs x methods x seeds x skill-neuron counts."""

    # Not built before it is used: the methods, whose options it holds, are read by then.
    model_config = ConfigDict(defer_build=True)

    title: str = ""
    """One line: what the sweep shows, and which figure or table of the paper it is."""
    benchmark: str
    """The family of tasks; `nbsp-ray explain benchmark` lists them."""
    pairs: tuple[Tasks, ...] = Field(min_length=1)
    """Tasks in the order in which they are learnt, two (`drawer-open:drawer-close`) or more (`a:b:a:b`), or a list of
    such; `paper` stands for the pairs that the paper compares methods on, and so does a file that names none."""
    methods: tuple[str, ...] = Field(min_length=1)
    """Methods by which each task after the first is learnt; `nbsp-ray explain methods` lists them."""
    seeds: tuple[Seed, ...] = Field((0, 1, 2, 3, 4), min_length=1)
    """A list, a range such as `0-4`, or both: `0-4,7`. `3` is seed 3 alone."""
    skill_neurons: tuple[SkillNeurons, ...] = Field((0.2,), min_length=1)
    """Neurons to select per network: a fraction of its hidden neurons (0.2), a count (102), or a list of them.
    Methods that select none ignore it."""
    sac: Sac = Sac()
    first: Learning = Learning()
    """The first phase."""
    second: Learning = Learning()
    """Each later phase: the second, and the third and so on where more than two tasks are learnt."""
    evaluation: Evaluation = Evaluation()
    method: MethodOptions = Field(default_factory=_method_defaults)
    search: Search = Search()
    resources: Resources = Resources()

    @field_validator("pairs", "methods", "seeds", "skill_neurons")
    @classmethod
    def _no_duplicates(cls, values: tuple[object, ...], info: ValidationInfo) -> tuple[object, ...]:
        texts = [" > ".join(value) if isinstance(value, tuple) else str(value) for value in values]
        repeated = [text for text, times in Counter(texts).items() if times > 1]
        if repeated:
            raise ValueError(f"{info.field_name} lists {', '.join(repeated)} twice")
        return values
