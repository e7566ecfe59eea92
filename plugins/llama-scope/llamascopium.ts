/** SAEs and transcoders as llamascopium keeps them. Source: llamascopium, models/sparse_dictionary.py and models/sae.py. */
import type { Core, SaeModel, Tensor } from "saeflow";
import { checked, filled, readJson, type WeightReader, weightReader, withFile } from "../shared/weights.ts";

const NORM = "dataset_average_activation_norm.";
const WHAT = "an SAE of llamascopium's";
const LOG_THRESHOLD = ["activation_function.log_jumprelu_threshold", "log_jumprelu_threshold"];

function schema({ z }: Core) {
	return z.object({
		sae_type: z.string().default("sae"),
		d_model: z.int().min(1),
		expansion_factor: z.number().positive(),
		act_fn: z.string().default("relu"),
		norm_activation: z.string().default("dataset-wise"),
		sparsity_include_decoder_norm: z.boolean().default(true),
		use_decoder_bias: z.boolean().default(true),
		use_glu_encoder: z.boolean().default(false),
		top_k: z.int().min(1).default(50),
		hook_point_in: z.string().optional(),
		hook_point_out: z.string().optional(),
	});
}

type Config = ReturnType<ReturnType<typeof schema>["parse"]>;

/** @throws SaeError for what is damaged, or no plain SAE or transcoder of one layer. */
export async function readLlamascopium(core: Core, configFile: string, path: string): Promise<SaeModel> {
	const config = checked(core, schema(core), await readJson(core, configFile), configFile);
	const problem = unreadable(config);
	if (problem) throw new core.SaeError(`${configFile}: ${problem}`);
	return withFile(core.openSafetensors(path), async (file) => {
		const weights = weightReader(core, file);
		const scales = [...file.tensors.keys()].filter((name) => name.startsWith(NORM));
		const model = await readModel(core, config, weights);
		if (config.norm_activation !== "dataset-wise") {
			// Where nobody set them, whatever lay in memory was saved.
			weights.skip(...scales);
			weights.finish(WHAT);
			return model;
		}
		const norms = await readNorms(weights, scales);
		weights.finish(WHAT);
		const { hook_point_in = "", hook_point_out = hook_point_in } = config;
		const [input, output] = [hook_point_in, hook_point_out].map((hook) => {
			const norm = norms.get(hook);
			if (norm !== undefined && norm > 0) return Math.sqrt(config.d_model) / norm;
			throw new core.SaeError(
				`${path}: tensor ${NORM}${hook} is missing or not positive, by which the SAE's inputs were scaled`,
			);
		}) as [number, number];
		return core.foldInputAndTarget(model, input, output);
	});
}

function unreadable(config: Config): string | undefined {
	if (config.sae_type !== "sae") return `sae_type ${config.sae_type} can't be read; only sae can`;
	if (config.use_glu_encoder)
		return "its encoder has a gate of its own (use_glu_encoder), which can't be run";
	if (!["relu", "jumprelu", "topk"].includes(config.act_fn)) {
		return `act_fn ${config.act_fn} depends on the whole batch; let llamascopium turn it into jumprelu first`;
	}
	const { norm_activation, hook_point_in, hook_point_out = hook_point_in } = config;
	if (norm_activation === "token-wise" && hook_point_in !== hook_point_out) {
		return "norm_activation token-wise scales a transcoder's targets by their own norms, which only the targets tell";
	}
	if (!["dataset-wise", "inference", "token-wise"].includes(norm_activation)) {
		return `norm_activation ${norm_activation} depends on the whole batch, so that a row can't be encoded by itself`;
	}
	return undefined;
}

async function readNorms(weights: WeightReader, names: readonly string[]): Promise<Map<string, number>> {
	const norms = new Map<string, number>();
	for (const name of names) {
		norms.set(name.slice(NORM.length), await weights.scalar(name));
	}
	return norms;
}

async function readModel(core: Core, config: Config, weights: WeightReader): Promise<SaeModel> {
	const { d_model, act_fn, hook_point_in, hook_point_out = hook_point_in } = config;
	const d_sae = Math.trunc(d_model * config.expansion_factor + 1e-6);
	// The R1 edition has the names of torch.nn.Linear, and its order of axes.
	const linear = weights.has("encoder.weight");
	const [bias, decoderBias] = linear ? ["encoder.bias", "decoder.bias"] : ["b_E", "b_D"];
	const W_dec = linear
		? await weights.takeTransposed("decoder.weight", [d_model, d_sae])
		: await weights.take("W_D", [d_sae, d_model]);
	const tensors: Record<string, Tensor> = {
		W_enc: linear
			? await weights.takeTransposed("encoder.weight", [d_sae, d_model])
			: await weights.take("W_E", [d_model, d_sae]),
		b_enc: await weights.take(bias!, [d_sae]),
		W_dec,
		b_dec: config.use_decoder_bias ? await weights.take(decoderBias!, [d_model]) : filled(d_model, 0),
	};
	if (act_fn === "jumprelu") {
		const name = LOG_THRESHOLD.find((candidate) => weights.has(candidate)) ?? LOG_THRESHOLD[0]!;
		const { data } = await weights.take(name, [d_sae]);
		const norms = config.sparsity_include_decoder_norm ? rowNorms(W_dec) : undefined;
		// The gate sees the pre-activation times the decoder row's norm, the code is without it.
		tensors.threshold = {
			shape: [d_sae],
			data: data.map((log, latent) => Math.exp(log) / (norms?.[latent] ?? 1)),
		};
	}
	const transcodes = hook_point_in !== hook_point_out;
	const model: SaeModel = {
		architecture: transcodes
			? "transcoder"
			: { relu: "standard", jumprelu: "jumprelu", topk: "topk" }[act_fn]!,
		d_in: d_model,
		d_sae,
		apply_b_dec_to_input: false,
		normalize_activations: config.norm_activation === "token-wise" ? "constant_norm_rescale" : "none",
		settings: act_fn === "topk" ? { k: config.top_k } : {},
		metadata: { hook_name: hook_point_in, ...(transcodes ? { hook_name_out: hook_point_out } : {}) },
		tensors,
	};
	if (act_fn !== "topk" || !config.sparsity_include_decoder_norm) return model;
	// Selecting by activation times norm is what foldDecoderNorms knows of topk.
	const { settings, ...rest } = model;
	return core.foldDecoderNorms({ ...rest, settings: { ...settings, rescale_acts_by_decoder_norm: true } });
}

function rowNorms({ shape: [rows, width], data }: Tensor): Float64Array {
	return Float64Array.from({ length: rows! }, (_, row) => {
		let square = 0;
		for (let i = row * width!; i < (row + 1) * width!; i++) square += data[i]! * data[i]!;
		return Math.sqrt(square);
	});
}
