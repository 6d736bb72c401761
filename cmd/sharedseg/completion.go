package main

import (
	"flag"
	"fmt"
	"strings"
)

type completionJSON struct {
	Shell  string `json:"shell"`
	Script string `json:"script"`
}

func runCompletion(c *call) error {
	scripts := map[string]func() string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}
	script := scripts[c.args[0]]
	if script == nil {
		return usageError(fmt.Sprintf("completion: no script for %q: the shells are bash, zsh and fish", c.args[0]))
	}
	if c.json {
		return c.out.object(completionJSON{c.args[0], script()})
	}
	_, err := c.out.w.WriteString(script())
	return err
}

// naming returns the commands whose arguments are names.
func naming() string {
	var names []string
	for _, cmd := range commands() {
		if strings.Contains(cmd.args, "NAME") {
			names = append(names, cmd.name)
		}
	}
	return strings.Join(names, " ")
}

// flagsOf returns the flags of a command, with their dashes.
func (cmd *command) flagsOf() string {
	var flags []string
	cmd.flagSet(new(call)).VisitAll(func(f *flag.Flag) { flags = append(flags, "-"+f.Name) })
	return strings.Join(flags, " ")
}

// perCommand joins a text for each command.
func perCommand(text func(cmd *command) string) string {
	var b strings.Builder
	for _, cmd := range commands() {
		b.WriteString(text(cmd))
	}
	return b.String()
}

// fill replaces placeholders in a script. pairs are placeholders and values.
func fill(script string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(script)
}

// The scripts do not quote names, as a name cannot contain a character that is
// special to a shell.

func bashScript() string {
	return fill(`# Completion of sharedseg for bash. Add this line to ~/.bashrc:
#
#	source <(sharedseg completion bash)

_sharedseg() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} i dir=() words=
	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		COMPREPLY=($(compgen -W "COMMANDS" -- "$cur"))
		return
	fi
	if [ "$prev" = -dir ]; then
		COMPREPLY=($(compgen -d -- "$cur"))
		return
	fi
	for ((i = 2; i < COMP_CWORD - 1; i++)); do
		[ "${COMP_WORDS[i]}" = -dir ] && dir=(-dir "${COMP_WORDS[i+1]}")
	done
	if [[ $cur == -* ]]; then
		case ${COMP_WORDS[1]} in
FLAGS		esac
	else
		case ${COMP_WORDS[1]} in
		NAMING) words=$("${COMP_WORDS[0]}" ls -q "${dir[@]}" 2>/dev/null) ;;
		completion) words="bash zsh fish" ;;
		esac
	fi
	COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _sharedseg sharedseg
`,
		"COMMANDS", strings.TrimSpace(perCommand(func(cmd *command) string { return cmd.name + " " })),
		"FLAGS", perCommand(func(cmd *command) string { return fmt.Sprintf("\t\t%s) words=%q ;;\n", cmd.name, cmd.flagsOf()) }),
		"NAMING", strings.ReplaceAll(naming(), " ", " | "))
}

func zshScript() string {
	return fill(`#compdef sharedseg
# Completion of sharedseg for zsh. Add this line to ~/.zshrc, after compinit:
#
#	source <(sharedseg completion zsh)

_sharedseg() {
	local -a found dir
	local i
	if (( CURRENT == 2 )); then
		found=(
COMMANDS		)
		_describe command found
		return
	fi
	if [[ $words[CURRENT-1] == -dir ]]; then
		_files -/
		return
	fi
	for (( i = 3; i < CURRENT - 1; i++ )); do
		[[ $words[i] == -dir ]] && dir=(-dir $words[i+1])
	done
	if [[ $words[CURRENT] == -* ]]; then
		case $words[2] in
FLAGS		esac
	else
		case $words[2] in
		(NAMING) found=(${(f)"$($words[1] ls -q $dir 2>/dev/null)"}) ;;
		(completion) found=(bash zsh fish) ;;
		esac
	fi
	compadd -- $found
}
if [[ $funcstack[1] == _sharedseg ]]; then
	_sharedseg "$@"
else
	compdef _sharedseg sharedseg
fi
`,
		"COMMANDS", perCommand(func(cmd *command) string { return fmt.Sprintf("\t\t\t'%s:%s'\n", cmd.name, cmd.short) }),
		"FLAGS", perCommand(func(cmd *command) string { return fmt.Sprintf("\t\t(%s) found=(%s) ;;\n", cmd.name, cmd.flagsOf()) }),
		"NAMING", strings.ReplaceAll(naming(), " ", "|"))
}

func fishScript() string {
	return fill(`# Completion of sharedseg for fish. Add this line to ~/.config/fish/config.fish:
#
#	sharedseg completion fish | source

function __sharedseg_names
	set -l words (commandline -opc)
	set -l dir
	for i in (seq 2 (count $words))
		if test $words[$i] = -dir; and test $i -lt (count $words)
			set dir -dir $words[(math $i + 1)]
		end
	end
	$words[1] ls -q $dir 2>/dev/null
end

complete -c sharedseg -f
complete -c sharedseg -o dir -x -a '(__fish_complete_directories)' -d 'use the names in a directory'
COMMANDSFLAGScomplete -c sharedseg -n '__fish_seen_subcommand_from NAMING' -a '(__sharedseg_names)'
complete -c sharedseg -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'
`,
		"COMMANDS", perCommand(func(cmd *command) string {
			return fmt.Sprintf("complete -c sharedseg -n __fish_use_subcommand -a %s -d '%s'\n", cmd.name, cmd.short)
		}),
		"FLAGS", perCommand((*command).fishFlags),
		"NAMING", naming())
}

// fishFlags completes the flags of a command, except -dir.
func (cmd *command) fishFlags() string {
	var b strings.Builder
	quote := strings.NewReplacer(`\`, `\\`, "'", `\'`)
	cmd.flagSet(new(call)).VisitAll(func(f *flag.Flag) {
		if f.Name == "dir" {
			return
		}
		value, text := flag.UnquoteUsage(f)
		if value != "" { // it takes one
			value = " -x"
		}
		fmt.Fprintf(&b, "complete -c sharedseg -n '__fish_seen_subcommand_from %s' -o %s%s -d '%s'\n", cmd.name, f.Name, value, quote.Replace(text))
	})
	return b.String()
}
