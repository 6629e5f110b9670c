# The shell of a page. Each request on standard input is a command, the folder for what it prints, and
# `&` if it is to go on in the background; each answer on standard output is its status, or its process.
# All commands run in this one shell, so variables, the folder and `$?` are as a reader has them.
exec 8>&1 9<&0
_docs_status() { return "$1"; }
_docs_last=0
while IFS= read -r -d '' -u 9 _docs_line && IFS= read -r -d '' -u 9 DOCS_JOB &&
  IFS= read -r -d '' -u 9 _docs_how; do
  export DOCS_JOB
  exec </dev/null >"$DOCS_JOB/out" 2>"$DOCS_JOB/err"
  if [ "$_docs_how" = '&' ]; then
    export DOCS_READY=$DOCS_JOB/ready
    eval "$_docs_line &" 8>&- 9<&-
    _docs_last=0 _docs_answer=$!
    unset DOCS_READY
  else
    _docs_status "$_docs_last"
    eval "$_docs_line" 8>&- 9<&-
    _docs_last=$? _docs_answer=$_docs_last
  fi
  printf '%s\0' "$_docs_answer" >&8
done
kill $(jobs -p) 2>/dev/null
wait
