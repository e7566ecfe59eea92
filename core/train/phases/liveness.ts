/** What a step's codes say about which latents are alive, and about thresholds. */
import { countSilence, listDead } from "../../../kernels/liveness.ts";
import { REPORT } from "../../../kernels/loss.ts";
import { type Dispatch, dispatch } from "../../../kernels/program.ts";
import { exclusiveScan } from "../../../kernels/scan.ts";
import { TRACK_THRESHOLDS } from "../../../kernels/threshold.ts";
import type { SelectDispatches } from "../../gpu/select.ts";
import type { Work } from "../work.ts";

/** What selections keep for inference, tokens since each latent last fired, and the list of dead ones. */
export function livenessPhase(work: Work, bounds: SelectDispatches["bounds"]): Dispatch[] {
	const { gpu, spec, shape, buffers, parameters, derived, terms } = work;
	const { d_sae } = shape;
	const { control, fired, deadFlags, floor } = buffers;
	const places = work.floats("dead places", d_sae + 1);
	const count = work.constants(d_sae);
	const groups = Math.ceil(d_sae / 64);
	const thresholds = terms[0]!.select.kind === "feature_topk" ? d_sae : 1;
	const densities = spec.allocation !== undefined;
	const marked = derived.includes("dead");
	return [
		...(bounds
			? [
					dispatch(
						gpu,
						"track thresholds",
						TRACK_THRESHOLDS,
						[
							buffers.step,
							work.constants(thresholds, bounds.apart),
							control,
							bounds.buffer,
							parameters.threshold,
						],
						Math.ceil(thresholds / 64),
					),
				]
			: []),
		dispatch(
			gpu,
			"count silence",
			countSilence({ densities, marked }),
			[
				buffers.step,
				count,
				control,
				fired,
				parameters.since,
				deadFlags,
				...(densities ? [parameters.density, floor] : []),
				...(marked ? [parameters.row("dead")] : []),
			],
			groups,
		),
		...exclusiveScan(gpu, "dead places", deadFlags, places, d_sae),
		dispatch(
			gpu,
			"list dead",
			listDead(REPORT.dead),
			[deadFlags, places, buffers.dead, buffers.report, count],
			groups,
		),
	];
}
