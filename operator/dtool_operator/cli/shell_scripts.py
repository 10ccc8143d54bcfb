"""`kubectl dtool completion`: the scripts that complete `kubectl-dtool` in a shell."""

from typing import Final

from dtool_operator.cli.failure import ExitCode
from dtool_operator.cli.session import Session

_BASH: Final = """\
# completion of kubectl-dtool; `kubectl dtool` is completed by kubectl's own script
_kubectl_dtool() {
    local line directive
    COMPREPLY=()
    while IFS= read -r line; do
        case "$line" in
            :0|:4|:6) directive=$line ;;
            *) COMPREPLY+=("${line%%$'\\t'*}") ;;
        esac
    done < <(kubectl_complete-dtool "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    [ "$directive" = :6 ] && compopt -o nospace
    [ "$directive" = :0 ] && compopt -o default
    return 0
}
complete -F _kubectl_dtool kubectl-dtool
"""
_ZSH: Final = """\
#compdef kubectl-dtool
# completion of kubectl-dtool; `kubectl dtool` is completed by kubectl's own script
_kubectl_dtool() {
    local -a choices
    local line directive
    while IFS= read -r line; do
        case "$line" in
            :0|:4|:6) directive=$line ;;
            *) choices+=("${${line//:/\\\\:}/$'\\t'/:}") ;;
        esac
    done < <(kubectl_complete-dtool "${(@)words[2,CURRENT]}" 2>/dev/null)
    if [[ $directive == :0 ]]; then
        _files
    elif [[ $directive == :6 ]]; then
        _describe 'dtool' choices -S ''
    else
        _describe 'dtool' choices
    fi
}
compdef _kubectl_dtool kubectl-dtool
"""
_FISH: Final = """\
# completion of kubectl-dtool; `kubectl dtool` is completed by kubectl's own script
function __kubectl_dtool
    set -l words (commandline -opc)[2..-1] (commandline -ct)
    kubectl_complete-dtool $words 2>/dev/null | string match -v -r '^:[046]$'
end
complete -c kubectl-dtool -f -a '(__kubectl_dtool)'
"""
_SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def run_completion(session: Session) -> ExitCode:
    """Print the script."""
    session.stdout.write(_SCRIPTS[session.arguments.shell])
    return ExitCode.DONE
