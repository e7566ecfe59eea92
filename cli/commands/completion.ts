/** `sae completion SHELL`: a script that asks `sae complete` what may come next. */
import { z } from "zod";
import { defineVerb } from "../command.ts";
import { printText } from "../stdout.ts";

const SCRIPTS = {
	bash: `_sae() {
	local line
	COMPREPLY=()
	while IFS= read -r line; do
		if [[ $line == :files ]]; then
			compopt -o default
		else
			COMPREPLY+=("\${line%%$'\\t'*}")
		fi
	done < <(sae complete "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _sae sae
`,
	zsh: `#compdef sae
_sae() {
	local line
	local -a candidates
	for line in "\${(@f)$(sae complete "\${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
		if [[ $line == :files ]]; then
			_files
		elif [[ -n $line ]]; then
			candidates+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
		fi
	done
	(( $#candidates )) && _describe sae candidates
}
compdef _sae sae
`,
	fish: `function __sae_complete
	set -l words (commandline -opc) (commandline -ct)
	for line in (sae complete $words[2..] 2>/dev/null)
		if test "$line" = :files
			__fish_complete_path (commandline -ct)
		else
			echo $line
		end
	end
end
complete -c sae -f -a '(__sae_complete)'
`,
} as const;

export default defineVerb({
	name: "completion",
	summary: "prints a script that lets your shell complete sae's commands, plugins and options",
	details: "The script calls `sae`, which must be on your PATH.",
	examples: [
		{ note: "bash, in ~/.bashrc", command: "source <(sae completion bash)" },
		{ note: "zsh, in ~/.zshrc after compinit", command: "source <(sae completion zsh)" },
		{ note: "fish", command: "sae completion fish > ~/.config/fish/completions/sae.fish" },
	],
	options: z.object({ shell: z.enum(["bash", "zsh", "fish"]).describe("bash, zsh or fish") }),
	positionals: [{ key: "shell" }],
	run: ({ options }) => printText(SCRIPTS[options.shell]),
});
