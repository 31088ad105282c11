# bash completion of hastd. Made by: cargo run -p home --bin completions
_hastd() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	case :$before:$word in
	:-c:*) COMPREPLY=($(compgen -f -- "$word")) ;;
	:-P:*) COMPREPLY=($(compgen -f -- "$word")) ;;
	:*:-*) COMPREPLY=($(compgen -W '-c -d -F -h -P -t' -- "$word")) ;;
	:*) : ;;
	esac
}
complete -F _hastd hastd
