/** `sae search SAE`: rows that have certain latents, or that are like a query whose latents may be changed. */
import { z } from "zod";
import { columnNames } from "../../core/columns.ts";
import { SaeError, usageError } from "../../core/errors.ts";
import { type LatentEdit, parseEdit } from "../../core/model/edits.ts";
import type { Context } from "../../core/plugin.ts";
import type { SaeRuntime } from "../../core/runtime.ts";
import type { SaeModel } from "../../core/sae.ts";
import type { Latents } from "../../core/search/score.ts";
import type { Query } from "../../core/search/search.ts";
import { parseWeights } from "../../core/search/weights.ts";
import { type RecordStream, repeats } from "../../core/stream.ts";
import { checkLatents } from "../attribute/options.ts";
import { defineVerb } from "../command.ts";
import { openInput } from "../input.ts";
import { outputOptions, writeOutput } from "../output.ts";
import { saeOptions, saePositionals } from "../sae.ts";

const KINDS = ["ablate", "clamp", "scale", "add"] as const;

const editOption = (what: string, form: string) =>
	z.array(z.string()).default([]).meta({ hint: form }).describe(what);

const options = z.object({
	...saeOptions,
	latent: z
		.string()
		.optional()
		.meta({ hint: "LATENT[:WEIGHT],..." })
		.describe("Find rows where these are most active: the sum of weight times activation; a weight is 1"),
	query: z
		.string()
		.min(1)
		.optional()
		.meta({ hint: "FILE" })
		.describe("Find rows like the first one of this stream, by cosine"),
	query_row: z
		.int()
		.min(0)
		.optional()
		.meta({ hint: "N" })
		.describe("Find rows like row N, from 0, of --query or else of the stream that is searched"),
	ablate: editOption("Set a latent of the query to 0", "LATENT"),
	clamp: editOption("Set a latent of the query to a value", "LATENT=VALUE"),
	scale: editOption("Multiply a latent of the query", "LATENT=FACTOR"),
	add: editOption("Add to a latent of the query", "LATENT=VALUE"),
	error: z
		.enum(["keep", "drop"])
		.default("keep")
		.describe("Whether what the SAE leaves unexplained is added to a changed query again"),
	space: z
		.enum(["dense", "latents"])
		.optional()
		.describe("What a query is compared by; dense by default, where the stream has activations"),
	top: z.int().min(1).max(1_000_000).default(10).describe("Rows to find"),
	column: columnNames
		.optional()
		.meta({ hint: "NAME,..." })
		.describe("Columns of vectors; by default those that the SAE was trained on, or the only one there is"),
	k: z.int().min(1).optional().describe("Latents per row, instead of the SAE's own k"),
	...outputOptions,
});

type Options = z.output<typeof options>;

export default defineVerb({
	name: "search",
	summary: "finds rows by their latents, or by a query whose latents can be changed",
	details:
		"Reads activations, or latents that are encoded already, once, and gives the best rows with their scores, the " +
		"activations of the latents asked for and all other columns, such as texts. A query's latents can be ablated, " +
		"clamped, scaled and added to: as many stay active as were, the largest, and what they decode to is searched for.",
	examples: [
		{ command: "sae search my-sae texts.arrow --latent 12" },
		{ command: "sae search my-sae latents.arrow --latent 12:2,40:-1 --top 50 --format json" },
		{ command: "sae search my-sae texts.arrow --query-row 7 --clamp 12=10 --ablate 40" },
	],
	positionals: saePositionals,
	options,
	async run({ options, context }) {
		const asked = askedFor(options);
		const model = await context.loadSae(options.sae);
		const named = [...(asked.weights?.keys() ?? []), ...asked.edits.map(({ latent }) => latent)];
		checkLatents(named, model);
		const input = await openInput(options.input, ["activations", "latents"]);
		if (repeats(input.schema))
			context.log.warn("the stream has the same rows more than once, and so may the result");
		let opened: Promise<SaeRuntime> | undefined;
		const runtime = () => {
			opened ??= context.openSae(model, { k: options.k });
			return opened;
		};
		try {
			await find(asked, model, input, runtime, options, context);
		} finally {
			(await opened)?.close();
		}
	},
});

interface Asked {
	/** Of latents, where no query is given. */
	readonly weights: Latents | undefined;
	readonly edits: readonly LatentEdit[];
}

/** @throws a usage error for options that don't go together. */
function askedFor(options: Options): Asked {
	const weights = options.latent === undefined ? undefined : parseWeights(options.latent);
	const edits = KINDS.flatMap((kind) => options[kind].map((text) => editOf(kind, text)));
	const queried = options.query !== undefined || options.query_row !== undefined;
	if ((weights !== undefined) === queried) {
		throw usageError("say what to search for: either --latent, or --query or --query-row");
	}
	if (weights && edits.length > 0)
		throw usageError("--ablate, --clamp, --scale and --add change a query: give one");
	if (weights && options.space === "dense") throw usageError("--latent searches latents, not dense vectors");
	if (options.query === undefined && options.query_row !== undefined && options.input === "-") {
		throw usageError("--query-row: stdin can't be read twice; name a file, or give the query with --query");
	}
	return { weights, edits };
}

function editOf(kind: LatentEdit["kind"], text: string): LatentEdit {
	const edit = parseEdit(kind, text);
	if (edit.sae !== 0 || edit.positions) {
		throw usageError(`--${kind} ${text}: a query has one SAE and no positions`);
	}
	return edit;
}

async function find(
	asked: Asked,
	model: SaeModel,
	input: RecordStream,
	runtime: () => Promise<SaeRuntime>,
	options: Options,
	context: Context,
): Promise<void> {
	const { searchStream } = await import("../../core/search/search.ts");
	const { command, log, signal } = context;
	const { query, listed } = asked.weights
		? { query: { by: "weights", latents: asked.weights } as const, listed: new Set(asked.weights.keys()) }
		: await queryOf(asked.edits, model, input, runtime, options, context);
	const found = await searchStream(input, model, runtime, query, {
		top: options.top,
		listed,
		// A row is most like itself.
		except: options.query === undefined ? options.query_row : undefined,
		columns: options.column,
		command,
		seen(rows) {
			signal.throwIfAborted();
			log.progress(`${rows.toLocaleString("en")} rows`);
		},
	});
	await writeOutput(found, options, context);
}

/** The query, changed, and the latents that are active in it or were asked to change. */
async function queryOf(
	edits: readonly LatentEdit[],
	model: SaeModel,
	input: RecordStream,
	runtime: () => Promise<SaeRuntime>,
	{ query, query_row: number = 0, input: path, space, column, error }: Options,
	{ log }: Context,
): Promise<{ query: Query; listed: Set<number> }> {
	const [{ codeCosines, cosines }, { hasVectors, queryRow }, { latentsOf, steerCodes, steerVector }] =
		await Promise.all([
			import("../../core/search/score.ts"),
			import("../../core/search/search.ts"),
			import("../../core/search/steer.ts"),
		]);
	const stream = await openInput(query ?? path, ["activations", "latents"]);
	const { vector, codes } = await queryRow(stream, model, runtime, number, column);
	const dense = vector !== undefined && hasVectors(input, model, column);
	if (space === "dense" && !dense) {
		throw new SaeError(
			"dense vectors are compared by activations, which the query or the stream lacks: sae encode --keep-activations keeps them",
		);
	}
	const steered = steerCodes(codes, edits);
	const latents = latentsOf(steered);
	const listed = new Set([...latents.keys(), ...edits.map(({ latent }) => latent)]);
	const told = (cosine: number) => {
		if (edits.length === 0) return;
		log.info(`the cosine of the changed query with the query is ${cosine.toFixed(3)}`);
	};
	if (!dense || space === "latents") {
		told(codeCosines(codes, latents)[0]!);
		return { query: { by: "codes", latents }, listed };
	}
	if (edits.length === 0) return { query: { by: "vector", vector }, listed };
	if ((model.d_out ?? model.d_in) !== model.d_in) {
		throw new SaeError(
			"this SAE reconstructs another width than it encodes, so a changed query has no place among the rows; use --space latents",
		);
	}
	const changed = await steerVector(await runtime(), vector, codes, steered, error);
	told(cosines(vector, changed)[0]!);
	return { query: { by: "vector", vector: changed }, listed };
}
