-- Lines that are neither a head nor a row, and rows without a head. A last line that a kill cut off was
-- cut away before.
select count(*)
from lines left join heads using (file_index, head)
where case when ts_ns is null then coalesce(not json_valid(text), true)
    else heads.head is null or coalesce(last <> '0]', cost <> '0]', true)
        or try_cast(substr(first_tokens, 2) as bigint) is null
        or try_cast(rtrim(last_tokens, ']') as bigint) is null
end
